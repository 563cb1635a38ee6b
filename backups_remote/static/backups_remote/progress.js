/* Keeps the progress of a backup's page up to date while the page is visible. */

"use strict";

(() => {
    const every = 5000;
    const box = document.querySelector(".backup-progress[data-url]");
    if (!box) {
        return;
    }

    const isEdited = () => [...document.querySelectorAll("#backup_form input[type=text]")].some(
        (input) => input.value !== input.defaultValue,
    );

    async function refresh() {
        if (!document.hidden) {
            try {
                const answer = await fetch(box.dataset.url, { redirect: "error" });
                if (answer.ok && answer.headers.get("X-Backup-State") !== box.dataset.state) {
                    // A reload would lose what has been typed.
                    if (!isEdited()) {
                        // Not at once: a message at the top of the page is there to be read.
                        setTimeout(() => location.reload(), Math.max(0, every - performance.now()));
                        return;
                    }
                    box.querySelector("[data-changed]").hidden = false;
                } else if (answer.ok) {
                    box.querySelector("[data-progress]").innerHTML = await answer.text();
                }
            } catch {
                // The next try may reach the panel again.
            }
        }
        setTimeout(refresh, every);
    }

    refresh();
})();
