"""The settings of panel_site, and a disk whose store answers at once."""

import os

os.environ.setdefault("DJANGO_SECRET_KEY", "a-key-for-benchmarks")

from panel_site.settings import *  # noqa: F403
from panel_site.settings import BACKUPS_REMOTE, STORAGES

ROOT_URLCONF = "benchmarks.site.urls"
INSTANT_DISK = "instant"
if "s3" in STORAGES:
    STORAGES[INSTANT_DISK] = STORAGES["s3"]
    BACKUPS_REMOTE["BACKENDS"] = {INSTANT_DISK: "benchmarks.site.instant.InstantBackend"}
