"""The host project as the panels under torture run it: shared database, several disks, hooks."""

import json
import os

from panel_site.settings import *  # noqa: F403
from panel_site.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE, STORAGES

_told = json.loads(os.environ["RELIABILITY"])

DATABASES["default"]["NAME"] = _told["database"]
INSTALLED_APPS = [*INSTALLED_APPS, "tests.reliability.crashing.CrashingConfig"]
MIDDLEWARE = ["tests.reliability.crashing.crash_where_told", *MIDDLEWARE]
ROOT_URLCONF = "tests.reliability.urls"
STORAGES |= {
    disk: {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {**_told["storage"], "location": location},
    }
    for disk, location in _told["locations"].items()
}
BACKUPS_REMOTE = _told["backups_remote"]
#: Seconds, in place of storage.s3's own and of lifecycle.reporting's PATIENCE.
TIMEOUTS = _told["timeouts"]
