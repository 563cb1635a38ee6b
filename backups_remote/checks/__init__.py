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

from django.core.checks import Tags, register

from backups_remote.checks.daemons import check_redirect, check_routing
from backups_remote.checks.disks import (
    check_aliases,
    check_connections,
    check_disks,
    check_internal_addresses,
    check_replay,
)
from backups_remote.checks.settings import check_settings

__all__ = [
    "check_aliases",
    "check_connections",
    "check_disks",
    "check_internal_addresses",
    "check_redirect",
    "check_replay",
    "check_routing",
    "check_settings",
    "register_checks",
]


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
