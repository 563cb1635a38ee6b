"""The host project with a model of its own that protects backups."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.holds"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
