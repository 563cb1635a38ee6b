"""The host project under test: panel_site, with a database file that several processes can share."""

import os
import tempfile

os.environ.setdefault("DJANGO_SECRET_KEY", "a-key-for-tests")
# Disks are set by fixtures; what the developer has in the environment must not leak in.
for name in list(os.environ):
    if name.startswith(("AWS_", "BACKUPS_REMOTE_")):
        del os.environ[name]

from panel_site.settings import *  # noqa: E402, F403
from panel_site.settings import DATABASES  # noqa: E402

DATABASES["default"]["CONN_MAX_AGE"] = 0
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {
        "NAME": os.path.join(tempfile.gettempdir(), f"backups_remote_{os.getpid()}.sqlite3")  # noqa: PTH118
    }
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    # Whatever the server's default is.
    DATABASES["default"]["TEST"] = {"CHARSET": "utf8mb4"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Static files are looked for when they are asked for: every test has a handler of its own, which
# would list them all.
WHITENOISE_AUTOREFRESH = True
# The package's own defaults, not the site's.
BACKUPS_REMOTE = {}
