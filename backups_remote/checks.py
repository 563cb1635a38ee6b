"""System checks: one for each setting, each disk's own, and what a deployment needs besides.

| id | what is wrong |
| --- | --- |
| ``backups_remote.E001`` | ``BACKUPS_REMOTE`` is not a dict |
| ``backups_remote.E002`` | it has a key that is not known |
| ``backups_remote.E003`` | ``DEFAULT_DISK`` is no disk |
| ``backups_remote.E004`` | ``MAX_PART_SIZE`` is not a number of bytes from 5 MiB to 5 GiB |
| ``backups_remote.E005`` | ``MAX_PARTS`` is not a number from 1 to 10,000 |
| ``backups_remote.E006`` | ``URL_LIFESPAN`` is not None or a duration of 1 second to 7 days |
| ``backups_remote.E007`` | ``STALE_AFTER`` is not a duration |
| ``backups_remote.E008`` | ``REPORT_REPLAY_WINDOW`` is not a duration |
| ``backups_remote.E009`` | ``MAX_CONCURRENT_UPLOADS`` is not None or a positive number |
| ``backups_remote.E010`` | ``AUTHENTICATION_CLASSES`` does not list importable classes |
| ``backups_remote.E011`` | ``BACKENDS`` does not map disks to StorageBackend classes |
| ``backups_remote.E012`` | ``RECOVER_UPLOADS`` is not a boolean |
| ``backups_remote.W001`` | ``SECURE_SSL_REDIRECT`` would redirect daemons, which lose their body |
| ``backups_remote.x1xx`` | a disk's own (see its backend), ``E103`` under ``--deploy`` only |
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication

from backups_remote.conf import (
    DEFAULTS,
    LARGEST_PART_NUMBER,
    LARGEST_PART_SIZE,
    LONGEST_SILENCE,
    LONGEST_URL_LIFESPAN,
    MIN_PART_SIZE,
    app_settings,
    as_timedelta,
)
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.storage import configured_disks, get_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.apps import AppConfig


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every key of ``BACKUPS_REMOTE``."""
    del app_configs, kwargs
    ours = app_settings.user_settings
    if not isinstance(ours, dict):
        return [_error(1, "BACKUPS_REMOTE is not a dict.", "Set it to a dict, or leave it out.")]
    found: list[CheckMessage] = [
        _error(
            2,
            f"BACKUPS_REMOTE has the unknown key {key!r}.",
            f"Known keys are {', '.join(DEFAULTS)}.",
        )
        for key in ours
        if key not in DEFAULTS
    ]
    # BACKENDS first: a disk is judged by it.
    for key in sorted(ours.keys() & _RULES.keys(), key=lambda key: key != "BACKENDS"):
        number, rule, hint = _RULES[key]
        if not rule(ours[key]):
            found.append(_error(number, f"BACKUPS_REMOTE[{key!r}] has a bad value.", hint))
            if key == "BACKENDS":
                return found
    return found


def check_disks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What the backend of each disk that the settings name says about its configuration."""
    del app_configs, kwargs
    return _ask_disks(connect=False)


def check_connections(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether the stores of those disks answer. Uses the network: under ``check --deploy`` only."""
    del app_configs, kwargs
    return _ask_disks(connect=True)


def check_redirect(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A daemon that is redirected to https repeats its POST as a GET without a body."""
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


def register_checks() -> None:
    """Register them all; called when Django starts."""
    register(check_settings, "backups_remote")
    register(check_disks, "backups_remote")
    register(check_redirect, Tags.security, deploy=True)
    register(check_connections, "backups_remote", deploy=True)


def _ask_disks(*, connect: bool) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for disk in _disks_for_backups():
        try:
            backend = get_backend(disk)
        except DiskNotConfigured as error:
            found.append(
                Error(str(error), hint="Look at its STORAGES options.", id="backups_remote.E100")
            )
            continue
        wrong = backend.check()
        found += wrong if not connect else []
        if connect and not any(message.is_serious() for message in wrong):
            found += backend.check_connection()
    return found


def _disks_for_backups() -> list[str]:
    """The disks that the settings name: any other alias may be the host's own, media say.

    What ``check_settings`` finds to be no disk is left out.
    """
    if not isinstance(app_settings.user_settings, dict) or not _are_backends(app_settings.backends):
        return []
    named = [app_settings.default_disk, *app_settings.backends]
    return list(dict.fromkeys(filter(_is_disk, named)))


def _error(number: int, message: str, hint: str) -> Error:
    return Error(message, hint=hint, id=f"backups_remote.E{number:03}")


def _is_disk(value: Any) -> bool:
    return isinstance(value, str) and value in configured_disks()


def _is_int(value: Any, low: int, high: float = float("inf")) -> bool:
    return type(value) is int and low <= value <= high


def _is_duration(value: Any, *, low: float = 0, high: dt.timedelta = LONGEST_SILENCE) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | dt.timedelta):
        return False
    try:
        return dt.timedelta(seconds=low) <= as_timedelta(value) <= high
    except (OverflowError, ValueError):
        return False


def _are_authentication_classes(value: Any) -> bool:
    if not isinstance(value, list | tuple) or not value:
        return False
    try:
        classes = [import_string(path) for path in value]
    except (ImportError, AttributeError, TypeError):
        return False
    return all(isinstance(c, type) and issubclass(c, BaseAuthentication) for c in classes)


def _are_backends(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() <= set(configured_disks())


#: Key → the number of its check, its rule, its hint.
_RULES: Final[dict[str, tuple[int, Callable[[Any], bool], str]]] = {
    "DEFAULT_DISK": (3, _is_disk, "Use 'wings' or an alias of STORAGES that a backend serves."),
    "MAX_PART_SIZE": (
        4,
        lambda value: _is_int(value, MIN_PART_SIZE, LARGEST_PART_SIZE),
        "Use a number of bytes from 5 MiB to 5 GiB, such as 128 * 1024**2.",
    ),
    "MAX_PARTS": (
        5,
        lambda value: _is_int(value, 1, LARGEST_PART_NUMBER),
        "Use a whole number from 1 to 10,000.",
    ),
    "URL_LIFESPAN": (
        6,
        lambda value: value is None or _is_duration(value, low=1, high=LONGEST_URL_LIFESPAN),
        "Use a timedelta (or seconds) of at most 7 days, or None to let it grow with the size.",
    ),
    "STALE_AFTER": (7, _is_duration, "Use a timedelta (or seconds) of at most ten years."),
    "REPORT_REPLAY_WINDOW": (8, _is_duration, "Use a timedelta (or seconds); 0 turns it off."),
    "MAX_CONCURRENT_UPLOADS": (
        9,
        lambda value: value is None or _is_int(value, 1),
        "Use a positive whole number, or None to say nothing.",
    ),
    "AUTHENTICATION_CLASSES": (
        10,
        _are_authentication_classes,
        "List dotted paths of rest_framework authentication classes.",
    ),
    "BACKENDS": (
        11,
        _are_backends,
        "Map disk aliases to dotted paths of backups_remote.storage.StorageBackend subclasses.",
    ),
    "RECOVER_UPLOADS": (12, lambda value: isinstance(value, bool), "Use True or False."),
}
