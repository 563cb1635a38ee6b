"""The checks of the keys of ``BACKUPS_REMOTE``, one rule each."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ValidationError
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication

from backups_remote.addresses import validate_base_url
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
from backups_remote.daemon import Daemon
from backups_remote.storage import configured_disks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.apps import AppConfig


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check every key of ``BACKUPS_REMOTE``."""
    del app_configs, kwargs
    ours = app_settings.user_settings
    if not isinstance(ours, dict):
        return [
            Error(
                "BACKUPS_REMOTE is not a dict.",
                hint="Set it to a dict, or leave it out.",
                id="backups_remote.E001",
            )
        ]
    found: list[CheckMessage] = [
        Error(
            f"BACKUPS_REMOTE has the unknown key {key!r}.",
            hint=f"Known keys are {', '.join(DEFAULTS)}.",
            id="backups_remote.E002",
        )
        for key in ours
        if key not in DEFAULTS
    ]
    # BACKENDS first: it decides which disks there are.
    rules = sorted(_RULES, key=lambda rule: rule.key != "BACKENDS")
    for rule in rules:
        if rule.key in ours and not rule.is_valid(ours[rule.key]):
            message = f"BACKUPS_REMOTE[{rule.key!r}] has a bad value."
            found.append(Error(message, hint=rule.hint, id=rule.id))
            if rule.key == "BACKENDS":
                return found
    return found


def is_usable() -> bool:
    """Whether the disks can be read from the settings; ``check_settings`` reports if not."""
    ours = app_settings.user_settings
    return isinstance(ours, dict) and _are_backends(app_settings.backends)


def is_disk(value: Any) -> bool:
    """Whether it is the name of a disk."""
    return isinstance(value, str) and value in configured_disks()


def is_duration(value: Any, *, low: float = 0, high: dt.timedelta = LONGEST_SILENCE) -> bool:
    """Whether it is a timedelta or a number of seconds, from ``low`` seconds to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float | dt.timedelta):
        return False
    try:
        return dt.timedelta(seconds=low) <= as_timedelta(value) <= high
    except (OverflowError, ValueError):
        return False


def _is_int(value: Any, low: int, high: float = float("inf")) -> bool:
    return type(value) is int and low <= value <= high


def _are_authentication_classes(value: Any) -> bool:
    if not isinstance(value, list | tuple) or not value:
        return False
    try:
        classes = [import_string(path) for path in value]
    except (ImportError, AttributeError, TypeError):
        return False
    return all(isinstance(c, type) and issubclass(c, BaseAuthentication) for c in classes)


def _is_daemon(value: Any) -> bool:
    if value is None:
        return True
    try:
        daemon = import_string(value)
    except (ImportError, AttributeError, TypeError):
        return False
    return isinstance(daemon, type) and issubclass(daemon, Daemon)


def _are_endpoints(value: Any) -> bool:
    if not isinstance(value, dict) or not value.keys() <= set(configured_disks()):
        return False
    try:
        for url in value.values():
            validate_base_url(url)
    except (AttributeError, TypeError, ValidationError):
        return False
    return True


def _are_backends(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() <= set(configured_disks())


@dataclass(frozen=True, slots=True)
class _Rule:
    """What the value of a key must be, and the error if it is not."""

    key: str
    is_valid: Callable[[Any], bool]
    hint: str
    id: str


_RULES: Final = (
    _Rule(
        "DEFAULT_DISK",
        is_disk,
        "Use 'wings' or an alias of STORAGES that a backend serves.",
        id="backups_remote.E003",
    ),
    _Rule(
        "MAX_PART_SIZE",
        lambda value: _is_int(value, MIN_PART_SIZE, LARGEST_PART_SIZE),
        "Use a number of bytes from 5 MiB to 5 GiB, such as 128 * 1024**2.",
        id="backups_remote.E004",
    ),
    _Rule(
        "MAX_PARTS",
        lambda value: _is_int(value, 1, LARGEST_PART_NUMBER),
        "Use a whole number from 1 to 10,000.",
        id="backups_remote.E005",
    ),
    _Rule(
        "URL_LIFESPAN",
        lambda value: value is None or is_duration(value, low=1, high=LONGEST_URL_LIFESPAN),
        "Use a timedelta (or seconds) of at most 7 days, or None to let it grow with the size.",
        id="backups_remote.E006",
    ),
    _Rule(
        "STALE_AFTER",
        is_duration,
        "Use a timedelta (or seconds) of at most ten years.",
        id="backups_remote.E007",
    ),
    _Rule(
        "REPORT_REPLAY_WINDOW",
        is_duration,
        "Use a timedelta (or seconds); 0 turns it off.",
        id="backups_remote.E008",
    ),
    _Rule(
        "MAX_CONCURRENT_UPLOADS",
        lambda value: value is None or _is_int(value, 1),
        "Use a positive whole number, or None to leave it out of answers.",
        id="backups_remote.E009",
    ),
    _Rule(
        "AUTHENTICATION_CLASSES",
        _are_authentication_classes,
        "List dotted paths of rest_framework authentication classes.",
        id="backups_remote.E010",
    ),
    _Rule(
        "BACKENDS",
        _are_backends,
        "Map disk aliases to dotted paths of backups_remote.storage.StorageBackend subclasses.",
        id="backups_remote.E011",
    ),
    _Rule(
        "RECOVER_UPLOADS",
        lambda value: isinstance(value, bool),
        "Use True or False.",
        id="backups_remote.E012",
    ),
    _Rule(
        "RESTORE_TIMEOUT",
        lambda value: is_duration(value, low=60),
        "Use a timedelta (or seconds) of at least a minute and at most ten years.",
        id="backups_remote.E013",
    ),
    _Rule(
        "DAEMON",
        _is_daemon,
        "Use None or the dotted path of a backups_remote.daemon.Daemon subclass. "
        "'backups_remote.daemon.WingsDaemon' needs: pip install 'backups-remote[wings]'.",
        id="backups_remote.E014",
    ),
    _Rule(
        "PUBLIC_ENDPOINTS",
        _are_endpoints,
        "Map disk aliases to URLs such as 'https://s3.example.com'.",
        id="backups_remote.E015",
    ),
    _Rule(
        "EVENTS_KEPT",
        lambda value: is_duration(value, low=86_400),
        "Use a timedelta (or seconds) of at least a day and at most ten years.",
        id="backups_remote.E016",
    ),
    _Rule(
        "BACKUP_OVERDUE_AFTER",
        lambda value: value is None or is_duration(value, low=60),
        "Use a timedelta (or seconds) of at least a minute and at most ten years, or None.",
        id="backups_remote.E017",
    ),
)
