"""The configuration of the Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BackupsRemoteConfig(AppConfig):
    """Registers the system checks when Django starts."""

    name = "backups_remote"
    verbose_name = _("Remote backups")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from backups_remote import checks

        checks.register_checks()
