"""The checks of whether daemons reach the endpoints through the host project."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from backups_remote.routing import check_routes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig
    from django.core.checks import CheckMessage


def check_redirect(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of a redirect to https: a daemon repeats its POST as a GET without a body."""
    del app_configs, kwargs
    if not settings.SECURE_SSL_REDIRECT:
        return []
    try:
        path = reverse("backups_remote:backup", args=["backup"]).lstrip("/")
    except NoReverseMatch:
        return []
    if any(re.search(pattern, path) for pattern in settings.SECURE_REDIRECT_EXEMPT):
        return []
    return [
        checks.Warning(
            "SECURE_SSL_REDIRECT redirects daemons that call over http; their reports get lost.",
            hint=f"Add r'^{path.removesuffix('backups/backup')}' to SECURE_REDIRECT_EXEMPT.",
            id="backups_remote.W001",
        )
    ]


def check_routing(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Resolve a daemon's path through the project's URLs."""
    del app_configs, kwargs
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        return [*check_routes()]
    except (ImportError, ImproperlyConfigured):
        return []  # Django's own check says what is wrong with them
