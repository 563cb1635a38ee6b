"""The host project with this app's tables on a database of their own, ``panel``."""

import os
import tempfile

from tests.settings import *  # noqa: F403


def _file(name):
    path = f"{tempfile.gettempdir()}/backups_remote_{os.getpid()}_{name}.sqlite3"
    # Unlike panel_site's, transactions begin as they do elsewhere: with the first write.
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {"timeout": 20},
        "TEST": {"NAME": path},
    }


class Router:
    """This app there, all others on ``default``; ``default`` has none of its tables."""

    def db_for_read(self, model, **hints):
        return "panel" if model._meta.app_label == "backups_remote" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "panel") == (app_label == "backups_remote")


DATABASES = {"default": _file("default"), "panel": _file("panel")}
DATABASE_ROUTERS = [Router()]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
BACKUPS_REMOTE = {
    "DEFAULT_DISK": "memory",
    "BACKENDS": {"memory": "backups_remote.testing.MemoryBackend"},
}
