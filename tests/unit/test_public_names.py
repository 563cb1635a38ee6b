"""What is public, and stays: removing one of these names is a breaking change.

docs/python-api.md says what that means.
"""

import inspect

import pytest
from django.core.management import get_commands, load_command_class
from django.utils.module_loading import import_string

from backups_remote import (
    actors,
    daemon,
    exceptions,
    lifecycle,
    models,
    signals,
    storage,
    testing,
    types,
)
from backups_remote.conf import DEFAULTS
from backups_remote.testing import daemon as stand_in_daemon

EXPORTS = {
    lifecycle: """DEFAULT_WORKERS accept_copies back_up cancel_restore count_stale delete_backup
        download_link download_link_for_user expire find_backup_made_by find_backup_restorable_on
        forget_backup history lock_backup node_heard node_restarted record_deletion record_refusal
        record_report record_restore request_parts request_upload restore rotate_backups start_backup
        start_restore sweep unlock_backup upload_progress""",
    models: """RESTORING Backup BackupEvent BackupQuerySet BackupState BackupTotals EventKind Filled
        Node Server""",
    daemon: "Daemon Deletion WingsDaemon get_daemon is_callable",
    storage: """StorageBackend bare_etag ceil_div configured_disks forget_backends get_backend
        multipart_etag plan_parts register_backend""",
    testing: "DIALECTS Dialect MemoryBackend State",
    stand_in_daemon: "Call Fault MAKES Make StandInDaemon",
}
DEFINED = {
    exceptions: """AlreadyCompleted BackupConflict BackupLimitReached BackupLocked BackupNotFound
        BackupsRemoteError DaemonError DaemonNotBegun DaemonNotConfigured DaemonNotReached
        DaemonRefused DaemonUnclear DiskNotConfigured ReportRefused RestoreRefused SettlementInProgress
        InvalidValue ServerNotFound StatusChanged
        StorageError StorageRefused StorageTimeout StorageUnavailable TokenUnreadable TryAgain UploadNotFound
        UploadRejected UploadsNotSupported""",
    types: """ArchiveKey CopyOutcome OpenUpload PartPlan Report ReportedPart StoredObject
        StoredPart SweepAction SweepOutcome UploadProgress UploadTicket""",
}
SETTINGS = """AUTHENTICATION_CLASSES BACKENDS BACKUP_OVERDUE_AFTER DAEMON DEFAULT_DISK EVENTS_KEPT
    MAX_CONCURRENT_UPLOADS MAX_PARTS MAX_PART_SIZE PUBLIC_ENDPOINTS RECOVER_UPLOADS
    REPORT_REPLAY_WINDOW RESTORE_TIMEOUT STALE_AFTER URL_LIFESPAN"""
COMMANDS = {
    "accept_copies": "--dry-run",
    "backup": "--disk --ignore --lock --name --rotate --wait",
    "create_node": "--disk --remote --rotate --url",
    "expire_stale_uploads": "--disk --dry-run --no-recover --older-than --workers",
    "list_backups": "--limit --state",
    "restore": "--truncate --wait",
}
PATHS = """backups_remote.actors.acting_as backups_remote.authentication.NodeAuthentication backups_remote.storage.s3.S3Backend
    backups_remote.storage.wings.WingsBackend backups_remote.testing.MemoryBackend
    backups_remote.testing.contract.StoreContract backups_remote.urls.urlpatterns"""
EVENT_KINDS = """completed copy_accepted created deleted deletion_refused deletion_started download_link_issued
    failed forgotten locked recovered recovery_started report_refused report_taken_back reported
    restore_cancelled restore_completed restore_failed restore_started unlocked upload_aborted
    upload_replaced upload_started"""
OF_EVENT = """Kind actor actor_name at backup_uuid detail kind node_name server_name
    server_uuid"""
QUERYSETS = """completed counted deleting failed in_state made_by pending reported restorable_on
    unfinished unreported uploading verified"""
OF_BACKUP = """State checksum completed_at created_at deletion_refusal deletion_refused_at disk events failure ignored_files is_locked is_recovered
    is_successful is_verified name node object_key refusal refused_at reported_at retained_until server size
    state uuid"""
OF_NODE = "bearer_token disk name rotate_token token token_id url uuid"
OF_SERVER = """backup_limit disk disk_for_backups is_restoring name node restore_started_at restoring_backup status
    uuid"""


@pytest.mark.parametrize("module", EXPORTS, ids=lambda module: module.__name__)
def test_a_package_exports_its_public_names(module):
    assert sorted(module.__all__) == sorted(EXPORTS[module].split())
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("module", DEFINED, ids=lambda module: module.__name__)
def test_a_module_defines_its_public_names(module):
    classes = dict(inspect.getmembers(module, inspect.isclass))
    defined = {name for name, found in classes.items() if found.__module__ == module.__name__}
    assert defined == set(DEFINED[module].split())


def test_every_setting_keeps_its_name():
    assert sorted(DEFAULTS) == sorted(SETTINGS.split())


def test_every_command_keeps_its_name_and_options():
    ours = {name for name, app in get_commands().items() if app == "backups_remote"}
    assert ours == set(COMMANDS)
    for name, options in COMMANDS.items():
        parser = load_command_class("backups_remote", name).create_parser("manage.py", name)
        assert set(options.split()) <= set(parser._option_string_actions)


@pytest.mark.parametrize("path", PATHS.split())
def test_a_dotted_path_for_settings_and_urls_can_be_imported(path):
    assert import_string(path) is not None


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (models.Backup, OF_BACKUP),
        (models.BackupEvent, OF_EVENT),
        (models.Node, OF_NODE),
        (models.Server, OF_SERVER),
        (models.BackupQuerySet, QUERYSETS),
    ],
)
def test_a_model_keeps_its_documented_attributes(owner, names):
    for name in names.split():
        assert hasattr(owner, name), name


def test_every_signal_keeps_its_name():
    found = {name for name, value in vars(signals).items() if isinstance(value, signals.Signal)}
    assert found == {
        "backup_completed",
        "backup_created",
        "backup_deleted",
        "backup_failed",
        "restore_reported",
        "restore_started",
    }


def test_every_kind_of_event_and_of_actor_keeps_its_value():
    assert sorted(models.EventKind.values) == sorted(EVENT_KINDS.split())
    assert sorted(actors.ActorKind.values) == ["code", "command", "node", "sweep", "user"]
