"""The checks of the disks that the settings and the rows name, and of what nodes get from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, router

from backups_remote.addresses import is_internal
from backups_remote.checks.settings import is_disk, is_duration, is_usable
from backups_remote.conf import WINGS_DISK, app_settings
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.models import Node, Server
from backups_remote.storage import get_backend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig


def check_aliases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that no alias of ``STORAGES`` has the name of the nodes' own disk."""
    del app_configs, kwargs
    if WINGS_DISK not in settings.STORAGES or not is_usable():
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
    return [message for disk in _disks_of_settings() for message in _check_configuration(disk)]


def check_replay(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of lost archives: a daemon deletes its own when a repeated report is answered 400."""
    del app_configs, kwargs
    if not is_usable() or not is_disk(app_settings.default_disk):
        return []
    disk = app_settings.default_disk
    try:
        keeps_on_node = not get_backend(disk).presigned_uploads
    except DiskNotConfigured:
        return []
    window = app_settings.user_settings.get("REPORT_REPLAY_WINDOW", 0)
    if not keeps_on_node or not is_duration(window) or app_settings.report_replay_window:
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
    """Check that the stores of all disks answer. Uses the network: ``check --deploy`` only.

    With ``--database`` that includes the disks that nodes and servers name. It checks their
    configuration too: ``check_disks`` must not fail because of a row, since ``migrate`` runs it.
    """
    del app_configs
    found: list[CheckMessage] = []
    named = _disks_of_settings()
    for disk in _disks_for_backups(kwargs.get("databases")):
        wrong = _check_configuration(disk)
        found += wrong if disk not in named else []
        if not any(message.is_serious() for message in wrong):
            found += get_backend(disk).check_connection()
    return found


def check_internal_addresses(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of restores that newer daemons refuse: from an address in an internal network."""
    del app_configs
    found: list[CheckMessage] = []
    for disk in _disks_for_backups(kwargs.get("databases")):
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


def _check_configuration(disk: str) -> list[CheckMessage]:
    try:
        return get_backend(disk).check()
    except DiskNotConfigured as error:
        return [Error(str(error), hint="Check its STORAGES options.", id="backups_remote.E100")]


def _disks_of_settings() -> list[str]:
    """The disks that the settings name: another alias may hold something else, such as media.

    Names that are no disk are left out; ``check_settings`` reports them.
    """
    if not is_usable():
        return []
    named = [app_settings.default_disk, *app_settings.backends]
    return list(dict.fromkeys(filter(is_disk, named)))


def _disks_for_backups(databases: Sequence[str] | None) -> list[str]:
    """The disks that the settings name, and those that rows in ``databases`` name."""
    rows = _disks_of_rows(databases or ()) if is_usable() else set()
    return list(dict.fromkeys([*_disks_of_settings(), *sorted(rows)]))


def _disks_of_rows(databases: Sequence[str]) -> set[str]:
    """The disks that nodes and servers name; none where their tables cannot be read."""
    found: set[str] = set()
    try:
        for model in (Node, Server):
            alias = router.db_for_read(model)
            if alias in databases:
                rows = model.objects.using(alias).exclude(disk="")
                found.update(rows.values_list("disk", flat=True).distinct())
    except (DatabaseError, ImproperlyConfigured):
        return set()  # not migrated yet, not reachable, or no database is configured
    return found
