"""The host project behind a router with a replica; see ``replica``."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

# No test may ask it: one that the app sends there fails.
DATABASES["replica"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
DATABASE_ROUTERS = ["tests.support.replica.ReplicaRouter"]
