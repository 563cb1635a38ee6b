"""Every page of the admin in the theme that ADMIN_THEME names: Django's own, unfold or jazzmin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import expect

from backups_remote import lifecycle
from backups_remote.models import Backup, BackupEvent, Node
from tests.admin.browser import (
    LOOKS,
    MARKS,
    fits,
    press_by_keyboard,
    row_of,
    see_list,
    tab_to,
    theme,
    tick,
)

ROOT = Path(__file__).parents[2]
ADMIN = "/admin/backups_remote"
OURS = '[class^="backup-"], [class*=" backup-"]'

in_browser = [pytest.mark.once, pytest.mark.themes, *MARKS]


def under(theme, code):
    """What ``code`` prints in a new process of the host project."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, "ADMIN_THEME": theme, "DJANGO_SETTINGS_MODULE": "panel_site.settings"},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("chosen", "base"),
    [("", "django.contrib"), ("stock", "django.contrib"), ("jazzmin", "django.contrib"), ("unfold", "unfold")],
)  # fmt: skip
def test_admins_are_of_the_installed_theme(chosen, base):
    told = under(
        chosen,
        "import django; django.setup()\n"
        "from django.contrib.admin import site\n"
        "from backups_remote.models import Backup, Node, Server\n"
        "for model in (Backup, Node, Server):\n"
        "    admin = site.get_model_admin(model)\n"
        "    bases = [c.__module__ for c in type(admin).__mro__ if c.__name__ == 'ModelAdmin']\n"
        "    print(bases[0], admin.get_changelist(None).__module__)\n",
    )

    assert told.stderr == ""
    assert told.stdout.splitlines() == [
        f"{base}.admin{'' if base == 'unfold' else '.options'} backups_remote.admin.{module}"
        for module in ("changelist", "base", "servers")
    ]


@pytest.mark.once
def test_unknown_theme_is_refused():
    told = under("purple", "from panel_site import settings")

    assert told.returncode != 0
    assert "ADMIN_THEME is none of stock, unfold, jazzmin: 'purple'." in told.stderr


@pytest.fixture
def pages(host, silent_upload, stored_backup, stranded_backup, calls_daemons):
    """The address of every page of the admin, by name."""
    Node.objects.update(url="https://node.example.com:8080")
    failed = Backup.objects.failed().get()
    Backup.objects.filter(pk=failed.pk).update(failure="silent for 7 h: 3 of 12 parts had arrived")
    unverified = Backup.objects.get(is_recovered=True)
    Backup.objects.filter(pk=unverified.pk).update(
        refused_at=timezone.now(),
        refusal="size: 10415298970 is reported, the store holds 10415298969.",
    )
    locked = Backup.objects.get(is_locked=True)
    # In digits as wide as there are.
    Backup.objects.filter(pk=locked.pk).update(checksum=f"sha1:{'d' * 40}")
    deleting = Backup.objects.deleting().get()
    reported = Backup.objects.reported().get()
    pending = Backup.objects.pending().get()
    restored = Backup.objects.get(name="Before ATM 4.2")
    assert restored.server.begin_restore(restored)
    server = stored_backup.server
    node = server.node
    lifecycle.forget_backup(host("Valheim", "Forgotten", timezone.timedelta(days=3), disk="gone"))

    def of(backup, view="change"):
        return f"{ADMIN}/backup/{backup.pk}/{view}/"

    return {
        "list": f"{ADMIN}/backup/",
        "list of a filter": f"{ADMIN}/backup/?state=failed",
        "list of a search": f"{ADMIN}/backup/?q=nothing+has+this+name",
        "completed": of(stored_backup),
        "uploading": of(silent_upload),
        "failed": of(failed),
        "unverified": of(unverified),
        "locked": of(locked),
        "deleting": of(deleting),
        "reported": of(reported),
        "pending": of(pending),
        "restored": of(restored),
        "unconfigured": of(stranded_backup),
        "restore": of(stored_backup, "restore"),
        "expire": of(silent_upload, "expire"),
        "delete": of(stored_backup, "delete"),
        "delete refused": of(stranded_backup, "delete"),
        "forget": of(stranded_backup, "forget"),
        "history": of(stored_backup, "history"),
        "events": f"{ADMIN}/backupevent/",
        "event": f"{ADMIN}/backupevent/{BackupEvent.objects.latest('pk').pk}/change/",
        "nodes": f"{ADMIN}/node/",
        "node": f"{ADMIN}/node/{node.pk}/change/",
        "new node": f"{ADMIN}/node/add/",
        "rotate token": f"{ADMIN}/node/{node.pk}/rotate-token/",
        "delete node": f"{ADMIN}/node/{node.pk}/delete/",
        "servers": f"{ADMIN}/server/",
        "server": f"{ADMIN}/server/{server.pk}/change/",
        "new server": f"{ADMIN}/server/add/",
        "back up": f"{ADMIN}/server/{server.pk}/back-up/",
        "delete server": f"{ADMIN}/server/{server.pk}/delete/",
        "index": "/admin/",
    }


def faults(page):
    """What is wrong with the page as it is shown now."""
    if not fits(page):
        width = page.evaluate("document.scrollingElement.scrollWidth")
        yield f"it is {width} pixels wide"
    if page.locator(OURS).count() == 0:
        return
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    if page.viewport_size["width"] < 1000:
        # The colours are those of the wide page, and take axe half a minute here.
        options["rules"] = {"color-contrast": {"enabled": False}}
    for violation in Axe().run(page, OURS, options).response["violations"]:
        for node in violation["nodes"]:
            why = " ".join(
                check["message"] for check in (*node["any"], *node["all"], *node["none"])
            )
            yield f"{violation['id']}: {node['html'][:120]}: {why}"


class TestPages:
    pytestmark = in_browser

    @pytest.mark.parametrize("page", LOOKS[:3], indirect=True, ids=str)
    def test_pages_are_readable_and_fit(self, page, pages):
        wrong = []

        def look(name):
            wrong.extend(f"{name}: {fault}" for fault in faults(page))

        see_list(page)
        theme.show_navigation(page)
        for name, url in pages.items():
            answer = page.goto(url)
            assert answer.status == 200, name
            assert page.url.endswith(url), name
            look(name)

        see_list(page)
        for name in ("Before hardmode", "Season 3, final day", "Season 2"):
            tick(page, name)
        look("list with an action")
        theme.run(page, "delete_selected")
        expect(page.get_by_text("1 backup and its archive will be deleted.")).to_be_visible()
        look("delete several")
        page.goto(pages["forget"])
        page.get_by_role("button", name="Forget this backup").click()
        expect(page.get_by_text("This field is required.")).to_be_visible()
        look("forget, with an error")
        page.goto(pages["rotate token"])
        page.get_by_role("button", name="Replace token").click()
        expect(page.locator(".backup-config")).to_be_visible()
        look("new token")

        assert "\n".join(wrong) == ""


ACTIONS = [
    ("lock", "Before ATM 4.2", None, "1 backup was locked."),
    ("unlock", "Season 3, final day", None, "1 backup was unlocked."),
    ("expire", "Before the Ashlands", "Expire now", "1 backup: 1 failed."),
    ("delete_selected", "Old wipe", "Yes, I’m sure", "1 backup was deleted."),
]


class TestKeyboard:
    """No mouse: Tab, Enter, Space and the arrows."""

    pytestmark = in_browser

    def test_every_action_is_tested(self, page, host):
        see_list(page)
        tick(page, "Old wipe")

        options = page.locator("select[name=action] option").evaluate_all(
            "options => options.map(option => option.value)"
        )
        assert {name for name in options if name} == {action for action, *_ in ACTIONS}

    @pytest.mark.parametrize(("action", "name", "button", "said"), ACTIONS)
    def test_actions(self, page, silent_upload, action, name, button, said):
        see_list(page)
        press_by_keyboard(page, row_of(page, name).get_by_role("checkbox"), "Space")
        theme.run_by_keyboard(page, action)
        if button:
            press_by_keyboard(page, page.get_by_role("button", name=button))

        expect(page.get_by_text(said)).to_be_visible()

    def test_verbs_of_a_page(self, page, pages):
        """The buttons of a backup, a server and a node, and the pages that they lead to."""
        for name, verb, button in (
            ("completed", "restore", "Restore"),
            ("completed", "delete", "Yes, I’m sure"),
            ("uploading", "expire", "Expire now"),
            ("unconfigured", "forget", "Forget this backup"),
            ("server", "back-up", "Back up now"),
            ("node", "rotate-token", "Replace token"),
        ):
            page.goto(pages[name])
            press_by_keyboard(page, page.locator(f"[data-verb={verb}]"))
            confirm = page.locator(".backup-buttons").get_by_role("button", name=button, exact=True)
            tab_to(page, confirm)
            assert outline(page) != "none", verb
            press_by_keyboard(page, page.get_by_role("link", name="No, take me back"))
            page.wait_for_url(f"**{pages[name]}")

        page.goto(pages["completed"])
        for verb, said in (("lock", "1 backup was locked."), ("unlock", "1 backup was unlocked.")):
            press_by_keyboard(page, page.locator(f"[data-verb={verb}]"))
            expect(page.get_by_text(said)).to_be_visible()

    def test_a_confirmation_with_a_form(self, page, stranded_backup):
        page.goto(f"{ADMIN}/backup/{stranded_backup.pk}/forget/")
        tab_to(page, page.get_by_label("UUID of the backup"))
        page.keyboard.type(str(stranded_backup.uuid))
        press_by_keyboard(page, page.get_by_role("button", name="Forget this backup"))

        expect(page.get_by_text("Season 2 was forgotten.")).to_be_visible()
        assert not Backup.objects.filter(pk=stranded_backup.pk).exists()

    def test_search_and_dates(self, page, host):
        see_list(page)
        tab_to(page, page.locator("#searchbar"))
        page.keyboard.type("wipe")
        page.keyboard.press("Enter")
        expect(page.locator("#result_list tbody tr")).to_have_count(2)

        see_list(page)
        press_by_keyboard(page, page.locator(":is(.toplinks, .date-hierarchy) a").last)
        page.wait_for_url("**/?created_at__*")


def outline(page):
    """How the element that has the focus is outlined."""
    return page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
