"""A router for a replica that has none of this app's rows yet, for whatever the app decides on.

Reads of a test's own, and those that only show something, go to the database that is written.
"""

import sys
from pathlib import Path

import backups_remote

APP = Path(backups_remote.__file__).parent
TESTS = Path(__file__).parent.parent
#: What shows rows and leaves decisions to the lifecycle.
SHOWING = (
    APP / "admin",
    APP / "management",
    APP / "lifecycle/event_history.py",
    APP / "lifecycle/totals.py",
)


def reads_for_a_decision():
    """Whether the innermost frame, of this app's and of the tests', is one of the app's."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(APP) and not path.is_relative_to(APP / "models"):
            return not any(path.is_relative_to(place) for place in SHOWING)
        if path.is_relative_to(TESTS) and path != Path(__file__):
            return False
        frame = frame.f_back
    return False


class ReplicaRouter:
    """Reads go to ``replica``, writes to ``default``."""

    def db_for_read(self, model, **hints):
        is_ours = model._meta.app_label == "backups_remote"
        return "replica" if is_ours and reads_for_a_decision() else "default"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"
