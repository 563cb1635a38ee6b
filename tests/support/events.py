"""Whether the events of a backup explain the state that its row is in."""

from backups_remote.models import RESTORING, Backup, BackupEvent, EventKind, Server

#: The state that a backup is in after an event of this kind; the other kinds change none.
STATE_AFTER = {
    EventKind.CREATED: Backup.State.PENDING,
    EventKind.UPLOAD_STARTED: Backup.State.UPLOADING,
    EventKind.UPLOAD_REPLACED: Backup.State.UPLOADING,
    EventKind.REPORTED: Backup.State.REPORTED,
    EventKind.RECOVERY_STARTED: Backup.State.REPORTED,
    EventKind.REPORT_TAKEN_BACK: Backup.State.UPLOADING,
    EventKind.COMPLETED: Backup.State.COMPLETED,
    EventKind.RECOVERED: Backup.State.COMPLETED,
    EventKind.FAILED: Backup.State.FAILED,
    EventKind.DELETION_STARTED: Backup.State.DELETING,
    EventKind.DELETION_REFUSED: Backup.State.COMPLETED,
    EventKind.DELETED: None,
    EventKind.FORGOTTEN: None,
}


#: What ends a restore.
RESTORE_ENDS = {
    EventKind.RESTORE_COMPLETED,
    EventKind.RESTORE_FAILED,
    EventKind.RESTORE_CANCELLED,
}


def kinds_of(uuid):
    return list(BackupEvent.objects.of_backup(uuid).values_list("kind", flat=True))


def unexplained(uuid):
    """What of the row of this backup, or of its absence, no event explains; in words."""
    kinds = kinds_of(uuid)
    row = Backup.objects.filter(uuid=uuid).first()
    server = None if row is None else Server.objects.filter(pk=row.server_id).first()
    if kinds != kinds_of(uuid):
        return []  # somebody is still at work on it
    return [*_unexplained(kinds, row), *_restores_unexplained(kinds, row, server)]


def _unexplained(kinds, row):
    if kinds.count(EventKind.CREATED) != 1 or kinds[0] != EventKind.CREATED:
        yield f"it was not created once, and first: {kinds}"
        return
    told = list(_states_after(kinds))
    state = None if row is None else row.state
    if told[-1] != state:
        yield f"its state is {state}, and its events are {kinds}"
    if None in told[:-1]:
        yield f"something happened to it after it was gone: {kinds}"
    if row is None:
        return
    locks = [kind for kind in kinds if kind in {EventKind.LOCKED, EventKind.UNLOCKED}]
    if (row.is_locked or row.was_locked) != (locks[-1:] == [EventKind.LOCKED]):
        yield f"its lock is {row.is_locked}, and its events are {kinds}"
    if state is Backup.State.FAILED and not row.failure:
        yield f"it has failed for no reason: {kinds}"
    if state is Backup.State.COMPLETED and row.failure:
        yield f"it is whole, and failed because {row.failure!r}"


def _states_after(kinds):
    """The states that the events tell of, in order."""
    recovered = False
    for kind in kinds:
        # The report of a backup that was recovered while it was being compared only verifies it.
        if kind in STATE_AFTER and not (recovered and kind == EventKind.REPORTED):
            recovered = kind == EventKind.RECOVERED
            yield STATE_AFTER[kind]


def _restores_unexplained(kinds, row, server):
    is_open = False
    for kind in kinds:
        if kind in {EventKind.RESTORE_STARTED, *RESTORE_ENDS}:
            begins = kind == EventKind.RESTORE_STARTED
            if begins is is_open:
                yield f"a restore began twice, or ended twice: {kinds}"
            is_open = begins
    if server is not None:
        # One that has overrun its limit is shown until somebody ends it, with an event.
        is_shown = server.status == RESTORING and server.restoring_backup_id == row.pk
        if is_shown is not is_open:
            yield f"its server is {server.status}, and its events are {kinds}"
