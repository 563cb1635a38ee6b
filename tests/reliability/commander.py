"""The warm parent of ``panel.Commander``: reads a command a line, answers a line each.

It is killed at its end, so its files are made in a directory that others remove, its argument.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import django
from django.core.management import execute_from_command_line

from tests.reliability.warm import load_project, warm_up

#: Longer than any command here takes; then the kernel ends it.
_LONGEST = 60


def _in_child(wanted, out, steps):
    from tests.reliability import crashing

    signal.alarm(_LONGEST)
    with Path(out).open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    plan = None
    if wanted["crash_at"]:
        plan = crashing.of_process(wanted["crash_at"])
    code = 1
    try:
        execute_from_command_line(["manage.py", *wanted["arguments"]])
        code = 0
    except SystemExit as error:
        code = error.code or 0
    finally:
        if plan is not None:
            Path(steps).write_text(" ".join(plan.steps), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    django.setup()
    warm_up()
    load_project()
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as directory:
        out, steps = f"{directory}/out", f"{directory}/steps"
        for line in sys.stdin:
            for path in (out, steps):
                Path(path).write_text("", encoding="utf-8")
            child = os.fork()
            if child == 0:
                _in_child(json.loads(line), out, steps)
            _, status = os.waitpid(child, 0)
            answer = {
                "code": os.waitstatus_to_exitcode(status),
                "out": Path(out).read_text(encoding="utf-8", errors="replace"),
                "steps": Path(steps).read_text(encoding="utf-8").split(),
            }
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
