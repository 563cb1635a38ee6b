"""The scenarios of the crash matrix, the faults, and how a case is played."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backups_remote.models import Backup, Server
from tests.reliability.world import PERSEVERANCE, PersistentNode, parts_of
from tests.support.daemon import success
from tests.support.factories import ServerFactory
from tests.support.proxy import Fault
from tests.support.tally import TOTALS

if TYPE_CHECKING:
    from collections.abc import Callable

#: What can go wrong with one call to the store. "first" faults answer without forwarding, "late"
#: ones after it.
FAULTS = {
    "answer dropped": Fault("", answer="drop"),
    "connection reset": Fault("", forward=False, answer="reset"),
    "slow": Fault("", before=0.2, after=0.2),
    "500 first": Fault("", forward=False, answer=(500, "InternalError")),
    "500 late": Fault("", answer=(500, "InternalError")),
    "503 first": Fault("", forward=False, answer=(503, "SlowDown")),
    "403 first": Fault("", forward=False, answer=(403, "AccessDenied")),
    "answer truncated": Fault("", answer="truncate"),
    "document cut": Fault("", answer="cut"),
    "200 with an error first": Fault("", forward=False, answer=(200, "InternalError")),
    "200 with an error late": Fault("", answer=(200, "InternalError")),
    "200 and empty first": Fault("", forward=False, answer="empty"),
    "200 and empty late": Fault("", answer="empty"),
    "NoSuchUpload late": Fault("", answer=(404, "NoSuchUpload")),
    "in progress": Fault("", forward=False, answer=(409, "OperationAborted")),
}
#: Store calls as the panel's code names them, and as the proxy does.
OPERATIONS = {
    "store.create_upload": "create",
    "store.list_parts": "list_parts",
    "store.complete_upload": "complete",
    "store.abort_upload": "abort",
    "store.stat": "head",
    "store.open_uploads": "list_uploads",
    "store.delete": "delete",
}
#: boto repeats a call that failed, our own Complete excepted: a fault lasts that long.
ATTEMPTS = {"complete": 1}


def possible(fault, operation):
    """Whether a store can answer so. A store that lies outright cannot be seen through."""
    if fault == "NoSuchUpload late":
        return operation in {"complete", "abort"}
    if operation in {"head", "abort", "delete"} and fault in {"answer truncated", "document cut"}:
        return False  # their answers have no body
    if operation == "head" and fault.startswith("200 with an error"):
        return False
    # It says that the object is deleted, and it is not.
    return not (operation == "delete" and fault == "200 and empty first")


def store_steps(steps):
    """(operation, occurrence) of every store call among ``steps``."""
    seen: Counter[str] = Counter()
    for step in steps:
        if step in OPERATIONS:
            seen[OPERATIONS[step]] += 1
            yield OPERATIONS[step], seen[OPERATIONS[step]]


@dataclass
class Stage:
    """Where a case is played."""

    world: Any
    panel: Any
    server: Any
    disk: str
    archive: bytes
    bearer: str

    def node(self, perseverance=None):
        return PersistentNode(self.panel.url, self.bearer, perseverance or PERSEVERANCE)


@dataclass(frozen=True)
class Scenario:
    """``prepare`` a backup; ``act`` once, which goes wrong; ``retry`` if the node is still there.

    ``gone`` and ``retried`` say how the backup may end when the node is gone, and when it tries
    again: "whole", "failed" or "deleted". ``is_done`` says whether the last answer that the node
    heard is true, and ``calls_store`` whether the act does.
    """

    name: str
    prepare: Callable
    act: Callable
    gone: frozenset
    retried: frozenset
    #: By default, the same again.
    retry: Callable | None = None
    is_done: Callable = lambda _backup: True
    calls_store: bool = True

    def try_again(self, stage, backup, node):
        """The status that the node heard last; None if it was never a final one."""
        if self.retry is not None:
            return self.retry(stage, backup, node)
        return node.persist(self.act(stage, backup, {}))


def _body(stage, backup):
    return success(stage.archive, parts_of(backup))


FAILURE = {"checksum": "", "checksum_type": "", "size": 0, "successful": False, "parts": None}


def _get(backup, size, headers):
    return lambda d: d.call("GET", f"{backup.uuid}", params={"size": size}, headers=headers)


def _post(backup, body, headers):
    return lambda d: d.call("POST", f"{backup.uuid}", json=body, headers=headers)


def _panel(verb):
    """The panel's own code calls a verb; with what ``act`` is called."""
    return lambda _stage, backup, headers: (
        lambda d: d.call("GET", f"{backup.uuid}/panel/{verb}", headers=headers)
    )


def _parts(backup, headers):
    return lambda d: d.ask_parts(backup, 1, headers=headers)


def _restored(backup, headers):
    body = {"successful": True}
    return lambda d: d.call("POST", f"{backup.uuid}/restore", json=body, headers=headers)


def _stream(node, backup, archive):
    """What Calagopus' daemon does, however often each step takes."""
    status = node.persist(_parts(backup, {}))
    if status != 200:
        return status
    with node.daemon() as daemon:
        parts = daemon.stream(backup, archive)
    return node.report(backup, archive, parts)


def _report(stage, backup, headers):
    return _post(backup, _body(stage, backup), headers)


def _finished(stage):
    backup = stage.world.uploading(stage.server, stage.disk, stage.archive)
    stage.world.complete_in_store(backup)
    return backup


def _completed(stage):
    return stage.world.completed(stage.server, stage.disk, stage.archive)


def _restoring(stage):
    """A backup that is being restored onto a server of its own."""
    server = ServerFactory(node=stage.server.node)
    backup = stage.world.completed(server, stage.disk, stage.archive)
    backup.refresh_from_db()
    assert server.begin_restore(backup)
    return backup


def _is_idle(backup):
    return Server.objects.get(pk=backup.server_id).status is None


def _above_the_limit(stage):
    """The older of two backups of a server that may have one."""
    server = ServerFactory(node=stage.server.node, backup_limit=1)
    older, newer = (stage.world.completed(server, stage.disk, stage.archive) for _ in range(2))
    Backup.objects.filter(pk=older.pk).update(created_at=newer.created_at - dt.timedelta(days=1))
    return older


def _is_rotated(backup):
    """Of the two, the newer is whole, and the older is gone unless the store refused that."""
    rows = Backup.objects.filter(server=backup.server_id)
    older = rows.filter(pk=backup.pk).first()
    newer = rows.exclude(pk=backup.pk).get()
    is_gone = older is None or older.deletion_refused_at is not None
    return is_gone and newer.state is Backup.State.COMPLETED


WHOLE, FAILED, DELETED = frozenset({"whole"}), frozenset({"failed"}), frozenset({"deleted"})

SCENARIOS = [
    Scenario(
        "GET",
        lambda s: s.world.pending(s.server, s.disk),
        lambda s, b, h: _get(b, len(s.archive), h),
        FAILED,
        WHOLE,
        lambda s, b, n: n.back_up(b, s.archive),
    ),
    Scenario(
        "GET with another size",
        lambda s: s.world.uploading(s.server, s.disk, b"x" * 1000, size=len(s.archive) - 1),
        lambda s, b, h: _get(b, len(s.archive), h),
        FAILED,
        WHOLE,
        lambda s, b, n: n.back_up(b, s.archive),
    ),
    Scenario(
        "success report",
        lambda s: s.world.uploading(s.server, s.disk, s.archive),
        _report,
        WHOLE,
        WHOLE,
    ),
    Scenario(
        "repeated report",
        lambda s: s.world.reported(s.server, s.disk, s.archive, claimed=False),
        _report,
        WHOLE,
        WHOLE,
    ),
    Scenario(
        "repeated report of a finished upload",
        lambda s: s.world.reported(s.server, s.disk, s.archive, claimed=False, finished=True),
        _report,
        WHOLE,
        WHOLE,
    ),
    Scenario("first report of a finished upload", _finished, _report, WHOLE, WHOLE),
    Scenario(
        "failure report",
        lambda s: s.world.uploading(s.server, s.disk, s.archive, parts=1),
        lambda s, b, h: _post(b, FAILURE, h),
        FAILED,
        FAILED,
    ),
    Scenario("deletion", _completed, _panel("delete"), WHOLE | DELETED, DELETED),
    Scenario(
        "rotation",
        _above_the_limit,
        _panel("rotate"),
        WHOLE | DELETED,
        WHOLE | DELETED,
        is_done=_is_rotated,
    ),
    Scenario(
        "lock",
        _completed,
        _panel("lock"),
        WHOLE,
        WHOLE,
        is_done=lambda b: Backup.objects.get(pk=b.pk).is_locked,
        calls_store=False,
    ),
    Scenario(
        "first parts of a stream",
        lambda s: s.world.pending(s.server, s.disk),
        lambda s, b, h: _parts(b, h),
        FAILED,
        WHOLE,
        lambda s, b, n: _stream(n, b, s.archive),
    ),
    Scenario(
        "report of a stream",
        lambda s: s.world.uploading(s.server, s.disk, s.archive, streamed=True),
        _report,
        # Until it has come, nobody knows whether all parts are there.
        WHOLE | FAILED,
        WHOLE,
    ),
    Scenario(
        "restore report",
        _restoring,
        lambda s, b, h: _restored(b, h),
        WHOLE,
        WHOLE,
        is_done=_is_idle,
        calls_store=False,
    ),
    Scenario(
        "restart of the daemon",
        _restoring,
        lambda s, b, h: lambda d: d.reset(headers=h),
        WHOLE,
        WHOLE,
        is_done=_is_idle,
        calls_store=False,
    ),
]


@dataclass
class Tally:
    """The cases so far. A lost one is one whose backup did not end as it must."""

    title: str
    tried: int = 0
    lost: list = field(default_factory=list)

    def judge(self, stage, name, backup, allowed):
        self.tried += 1
        TOTALS.add(cases=1)
        wrong = stage.world.violations(backup, stage.archive)
        row = Backup.objects.filter(pk=backup.pk).first()
        end = "deleted" if row is None else "whole" if row.is_successful else "failed"
        if end not in allowed:
            wrong.append(f"it ended {end}, not {' or '.join(sorted(allowed))}")
        if wrong:
            self.note(name, "; ".join(wrong))

    def note(self, name, problem):
        self.lost.append(f"{name}: {problem}")
        TOTALS.add(lost=1)
        print(f"  LOST {self.lost[-1]}", flush=True)

    def close(self):
        """Say how it went; everything that was lost, in one failure."""
        print(f"{self.title}: {self.tried} cases tried, {len(self.lost)} lost", flush=True)
        assert self.lost == []
        assert self.tried
