"""The host project as the panels under torture run it: shared database, several disks, hooks."""

import json
import os

from panel_site.settings import *  # noqa: F403
from panel_site.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE, STORAGES

_told = json.loads(os.environ["RELIABILITY"])

DATABASES["default"]["NAME"] = _told["database"]
# What a call leaves is not to be what the next one begins with.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if _told["pool"]:
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": _told["pool"],
        "timeout": 10,
    }
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
#: Seconds, in place of the code's own: see ``crashing``.
TIMEOUTS = _told["timeouts"]
