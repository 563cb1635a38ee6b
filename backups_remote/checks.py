"""System checks: of each setting, of each disk, and of the deployment.

| id | problem |
| --- | --- |
| ``backups_remote.E001`` | ``BACKUPS_REMOTE`` is not a dict |
| ``backups_remote.E002`` | it has an unknown key |
| ``backups_remote.E003`` | ``DEFAULT_DISK`` is not a disk |
| ``backups_remote.E004`` | ``MAX_PART_SIZE`` is not a number of bytes from 5 MiB to 5 GiB |
| ``backups_remote.E005`` | ``MAX_PARTS`` is not a number from 1 to 10,000 |
| ``backups_remote.E006`` | ``URL_LIFESPAN`` is not None or a duration of 1 second to 7 days |
| ``backups_remote.E007`` | ``STALE_AFTER`` is not a duration |
| ``backups_remote.E008`` | ``REPORT_REPLAY_WINDOW`` is not a duration |
| ``backups_remote.E009`` | ``MAX_CONCURRENT_UPLOADS`` is not None or a positive number |
| ``backups_remote.E010`` | ``AUTHENTICATION_CLASSES`` does not list importable classes |
| ``backups_remote.E011`` | ``BACKENDS`` does not map disks to StorageBackend classes |
| ``backups_remote.E012`` | ``RECOVER_UPLOADS`` is not a boolean |
| ``backups_remote.E013`` | ``RESTORE_TIMEOUT`` is not a duration of at least a minute |
| ``backups_remote.E014`` | ``DAEMON`` is not None or the path of an importable Daemon class |
| ``backups_remote.E015`` | ``PUBLIC_ENDPOINTS`` does not map disks to http or https URLs |
| ``backups_remote.E016`` | ``EVENTS_KEPT`` is not a duration of at least a day |
| ``backups_remote.E017`` | ``BACKUP_OVERDUE_AFTER`` is not None or a duration of a minute or more |
| ``backups_remote.E018`` | an alias of ``STORAGES`` has the name of the nodes' own disk |
| ``backups_remote.E100`` | a disk cannot be set up |
| ``backups_remote.W001`` | ``SECURE_SSL_REDIRECT`` would redirect daemons, whose reports get lost |
| ``backups_remote.W003`` | nodes are given URLs of an internal address |
| ``backups_remote.W002`` | nodes keep their archives, and ``REPORT_REPLAY_WINDOW`` is 0 |
| ``backups_remote.W004`` | daemons do not reach the endpoints through the project's URLs |
| ``backups_remote.W005`` | the endpoints are inside ``i18n_patterns()`` |
| ``backups_remote.W006`` | ``PREPEND_WWW`` redirects daemons |

A disk's backend has more of its own, such as ``backups_remote.storage.s3.checks``.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication

from backups_remote.addresses import is_internal, validate_base_url
from backups_remote.conf import (
    DEFAULTS,
    LARGEST_PART_NUMBER,
    LARGEST_PART_SIZE,
    LONGEST_SILENCE,
    LONGEST_URL_LIFESPAN,
    MIN_PART_SIZE,
    WINGS_DISK,
    app_settings,
    as_timedelta,
)
from backups_remote.daemon import Daemon
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.routing import check_routes
from backups_remote.storage import configured_disks, get_backend

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


def check_aliases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that no alias of ``STORAGES`` hides behind the nodes' own disk."""
    del app_configs, kwargs
    if WINGS_DISK not in settings.STORAGES or not _is_usable():
        return []
    if WINGS_DISK in app_settings.backends:
        return []  # it was chosen to be stored elsewhere
    return [
        Error(
            f"STORAGES has an alias {WINGS_DISK!r}, which is the name of the nodes' own disk: "
            "no backup would be stored there.",
            hint="Give the alias another name.",
            id="backups_remote.E018",
        )
    ]


def check_disks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Have the backend of each disk that the settings name check its configuration."""
    del app_configs, kwargs
    return _check_each_disk(connect=False)


def check_replay(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of lost archives: a daemon deletes its own when a repeated report is answered 400."""
    del app_configs, kwargs
    if not _is_usable() or not _is_disk(app_settings.default_disk):
        return []
    disk = app_settings.default_disk
    try:
        keeps_on_node = not get_backend(disk).presigned_uploads
    except DiskNotConfigured:
        return []
    window = app_settings.user_settings.get("REPORT_REPLAY_WINDOW", 0)
    if not keeps_on_node or not _is_duration(window) or app_settings.report_replay_window:
        return []
    return [
        checks.Warning(
            f"Nodes keep the archives of the disk {disk!r}, and delete one when the answer to "
            "their report is lost and its repeat is answered 400.",
            hint="Set BACKUPS_REMOTE['REPORT_REPLAY_WINDOW'], for example to 300 seconds.",
            id="backups_remote.W002",
        )
    ]


def check_connections(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the stores of those disks answer. Uses the network: ``check --deploy`` only."""
    del app_configs, kwargs
    return _check_each_disk(connect=True)


def check_internal_addresses(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of restores that newer daemons refuse: from an address in an internal network."""
    del app_configs, kwargs
    found: list[CheckMessage] = []
    for disk in _disks_for_backups():
        try:
            host = get_backend(disk).host_for_nodes()
        except DiskNotConfigured:
            continue
        if host is not None and is_internal(host):
            found.append(
                checks.Warning(
                    f"Nodes fetch archives of the disk {disk!r} from {host}, an internal address. "
                    "Wings 1.13.1 and later refuse such a restore.",
                    hint="Name it in each node's config.yml, under "
                    "system.backups.restore_host_allowlist, and silence this warning.",
                    id="backups_remote.W003",
                )
            )
    return found


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


def register_checks() -> None:
    """Register all checks; called when Django starts."""
    register(check_settings, "backups_remote")
    register(check_aliases, "backups_remote")
    register(check_disks, "backups_remote")
    register(check_replay, "backups_remote")
    register(check_routing, Tags.urls)
    register(check_internal_addresses, "backups_remote", deploy=True)
    register(check_redirect, Tags.security, deploy=True)
    register(check_connections, "backups_remote", deploy=True)


def _check_each_disk(*, connect: bool) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for disk in _disks_for_backups():
        try:
            backend = get_backend(disk)
        except DiskNotConfigured as error:
            found.append(
                Error(str(error), hint="Check its STORAGES options.", id="backups_remote.E100")
            )
            continue
        wrong = backend.check()
        found += wrong if not connect else []
        if connect and not any(message.is_serious() for message in wrong):
            found += backend.check_connection()
    return found


def _disks_for_backups() -> list[str]:
    """The disks that the settings name: another alias may hold something else, such as media.

    Names that are no disk are left out; ``check_settings`` reports them.
    """
    if not _is_usable():
        return []
    named = [app_settings.default_disk, *app_settings.backends]
    return list(dict.fromkeys(filter(_is_disk, named)))


def _is_usable() -> bool:
    """Whether the disks can be read from the settings; ``check_settings`` reports if not."""
    ours = app_settings.user_settings
    return isinstance(ours, dict) and _are_backends(app_settings.backends)


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
        _is_disk,
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
        lambda value: value is None or _is_duration(value, low=1, high=LONGEST_URL_LIFESPAN),
        "Use a timedelta (or seconds) of at most 7 days, or None to let it grow with the size.",
        id="backups_remote.E006",
    ),
    _Rule(
        "STALE_AFTER",
        _is_duration,
        "Use a timedelta (or seconds) of at most ten years.",
        id="backups_remote.E007",
    ),
    _Rule(
        "REPORT_REPLAY_WINDOW",
        _is_duration,
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
        lambda value: _is_duration(value, low=60),
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
        lambda value: _is_duration(value, low=86_400),
        "Use a timedelta (or seconds) of at least a day and at most ten years.",
        id="backups_remote.E016",
    ),
    _Rule(
        "BACKUP_OVERDUE_AFTER",
        lambda value: value is None or _is_duration(value, low=60),
        "Use a timedelta (or seconds) of at least a minute and at most ten years, or None.",
        id="backups_remote.E017",
    ),
)
