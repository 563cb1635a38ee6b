"""Random interleavings of everything that can happen to a server's backups, over the real store.

Each actor (a GET, a report, a sweep, a deletion, a rotation, a restore …) runs in a thread of its
own, with its own database connection, as if on a panel of its own. It stops at every gate: before
and after each store call and each transition of a row. Hypothesis chooses who goes on next, who
dies at its gate, who freezes there and loses its claim, and when the store falls silent or refuses
to delete.

Whatever happens:

- no archive that is being restored is ever gone, neither by the row nor by what the node's daemon is
  really doing;
- a backup that is COMPLETED has its object in the store, with the ETag on its row, or its archive on
  the node's own disk, and none that lies there outlives its row;
- nothing verified gives way to anything unverified;
- no part PUT fails that an answer still in force promised;
- one run of the sweep leaves each row final and true, and no upload in the store;
- the events of a backup explain its state: no change without its event, and no event without its
  change.

The host project is an actor as well: it reads rows of all three models, and saves them later.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import functools
import hashlib
import os
import threading
import time
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import requests
from django.db import DatabaseError, connection
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from backups_remote import lifecycle
from backups_remote.daemon import Daemon, Deletion
from backups_remote.exceptions import (
    BackupsRemoteError,
    DaemonNotBegun,
    DaemonUnclear,
    StorageError,
    StorageRefused,
    StorageTimeout,
)
from backups_remote.models import RESTORING, Backup, BackupEvent, EventKind, Node, Server
from backups_remote.types import Report, ReportedPart
from tests.support.events import unexplained
from tests.support.factories import BackupFactory, ServerFactory
from tests.support.tally import TOTALS

MIB = 1024**2


FIRST, REST = os.urandom(5 * MIB), b"the rest"


ARCHIVE = FIRST + REST
CHECKSUM = f"sha1:{hashlib.sha1(ARCHIVE).hexdigest()}"
ETAGS = tuple(hashlib.md5(body).hexdigest() for body in (FIRST, REST))
OLD = b"the archive of last night"
GATED_CALLS = ("create_upload", "list_parts", "complete_upload", "abort_upload", "stat", "delete")
NOW = dt.timedelta(0)
LEASE = dt.timedelta(seconds=0.3)
LIES = ("size", "etag", "missing part", "another part", "failure")
#: What a daemon does with a call, and what the panel hears of it.
REPLIES = ("accepted", "refused", "lost", "unreached", "called back")
tried = Counter()


#: The actor in whose name a thread works; threads that it starts inherit it.
actor_here = contextvars.ContextVar("actor", default=None)


class Killed(BaseException):
    """The process died here: nothing that follows may run, not even an except Exception."""


class Actor(threading.Thread):
    """Work that stops at every gate until it is let on."""

    def __init__(self, name, work):
        super().__init__(name=name, daemon=True)
        self.work = work
        self.frozen = False
        self.go = threading.Event()
        self.stopped = threading.Event()
        self.doomed = False
        self.answer = None
        self.start()
        self.wait()

    def run(self):
        actor_here.set(self)
        try:
            self.pause()
            self.answer = self.work() or "done"
        except BackupsRemoteError as error:
            self.answer = error
        except Killed:
            self.answer = "killed"
        except BaseException as error:
            self.answer = error
            raise
        finally:
            connection.close()
            self.stopped.set()

    def pause(self):
        self.stopped.set()
        assert self.go.wait(60)
        self.go.clear()
        if self.doomed:
            raise Killed

    def wait(self):
        assert self.stopped.wait(60), "an actor neither ended nor reached a gate"

    def step(self):
        self.frozen = False
        self.stopped.clear()
        self.go.set()
        self.wait()

    def kill(self):
        self.doomed = True
        while self.is_at_gate:
            self.step()
        self.join(60)

    def finish(self):
        while self.is_at_gate:
            self.step()
        self.join(60)

    @property
    def is_at_gate(self):
        return self.answer is None and self.stopped.is_set()


def gate():
    actor = actor_here.get()
    # No actor stops inside a transaction: others would wait for its lock.
    if actor is not None and not connection.in_atomic_block:
        actor.pause()


def unless_frozen(renew):
    """A frozen process renews nothing."""

    @functools.wraps(renew)
    def wrapper(backup):
        actor = actor_here.get()
        if actor is not None and actor.frozen:
            return
        if threading.current_thread().name == "renew-claims":
            # It serves several actors and must not wait for one of them.
            actor_here.set(None)
        renew(backup)

    return wrapper


def gated(call):
    @functools.wraps(call)
    def wrapper(*args, **kwargs):
        gate()
        result = call(*args, **kwargs)
        gate()
        return result

    return wrapper


class Life(RuleBasedStateMachine):
    """A server with last night's backup and one in the making, and all that can happen at once."""

    s3 = bucket = location = backend = None

    def __init__(self):
        super().__init__()
        self.actors = []
        #: The backups that the node's daemon is putting back, whatever the panel believes.
        self.on_the_node = set()
        self.ticket = None
        self.was_successful = False
        self.falls_silent = False
        self.refuses_deletions = False
        self.leaves_deletions_unanswered = False
        self.unanswered = []
        #: The backups whose archives lie on the node's own disk.
        self.on_the_disk = set()
        self.deletes_in_the_background = False
        #: How many restarts the panel has not heard of to the end.
        self.restarting = 0

    @initialize(
        far=st.sampled_from(["uploaded", "uploaded", "uploaded", "asked", "new", "whole", "whole"]),
        crowd=st.lists(
            st.sampled_from(
                [
                    *("report", "sweep", "ask", "stream", "failure", "delete", "rotate"),
                    *("restore", "lock", "back up", "host", "refusals", "silent deletion"),
                    *("delete own", "restore own", "restart"),
                ]
            ),
            max_size=3,
        ),
    )
    def begin(self, far, crowd):
        """Most sequences start where the dangers are: a whole upload, several at work on it."""
        type(self).backend.machine = self
        self.server = ServerFactory(
            backup_limit=2 if "back up" in crowd else 1, node__url="http://node.example"
        )
        self.old = BackupFactory(server=self.server, disk="s3")
        self.make(self.old, OLD)
        self.backup = BackupFactory(server=self.server, disk="s3", rotation_due=True)
        # Of another server, which has no part in the rotations.
        other = ServerFactory(node=self.server.node)
        self.own = BackupFactory(server=other, disk="wings")
        lifecycle.record_report(self.row("own"), Report(True, "sha1:own", len(OLD)))
        self.on_the_disk = {self.own.pk}
        if far != "new":
            self.ticket = lifecycle.request_upload(self.row(), len(ARCHIVE))
        if far in {"uploaded", "whole"}:
            self.parts_arrive("both")
        if far == "whole":
            lifecycle.record_report(self.row(), self.said("listed"))
        tried["sequences"] += 1
        TOTALS.add(sequences=1)
        for who in crowd:
            self.start_by_name(who)

    def start_by_name(self, who):
        {
            "report": lambda: self.start_report("listed"),
            "failure": lambda: self.start_report("failure"),
            "refused": lambda: self.start_report("another part"),
            "ask": lambda: self.start_request(len(ARCHIVE)),
            "ask for less": lambda: self.start_request(3 * MIB),
            "stream": lambda: self.start_stream(1),
            "sweep": lambda: self.start_sweep(NOW, recover=True),
            "expire": self.start_expire,
            "delete": lambda: self.start_delete("backup"),
            "delete old": lambda: self.start_delete("old"),
            "delete own": lambda: self.start_delete_own("accepted"),
            "delete own early": lambda: self.start_delete_own("called back"),
            "delete own unheard": lambda: self.start_delete_own("lost"),
            "rotate": self.start_rotate,
            "restore": lambda: self.start_restore("backup", "accepted"),
            "restore old": lambda: self.start_restore("old", "accepted"),
            "restore unheard": lambda: self.start_restore("old", "lost"),
            "restore own": lambda: self.start_restore("own", "accepted"),
            "restore refused": lambda: self.start_restore("old", "refused"),
            "back up": lambda: self.start_back_up("called back"),
            "restore report": lambda: self.start_restore_report("old"),
            "lock": lambda: self.start_lock("backup"),
            "host": self.start_host,
            "overrun": self.end_restore_limit,
            "restart": self.start_restart,
            "refusals": self.store_refuses_deletions,
            "silent deletion": self.store_stops_answering_deletions,
        }[who]()

    def make(self, backup, archive):
        ticket = lifecycle.request_upload(backup, len(archive))
        answer = requests.put(ticket.urls[0], data=archive, timeout=30)
        parts = (ReportedPart(1, answer.headers["ETag"]),)
        lifecycle.record_report(backup, Report(True, "sha1:old", len(archive), parts))

    # Who comes along

    def start(self, name, work):
        tried["actors"] += 1
        self.actors.append(Actor(name, work))

    def row(self, which="backup"):
        backups = Backup.objects.select_related("server")
        return backups.filter(pk=getattr(self, which).pk).first()

    def act_on(self, name, which, verb):
        """An actor that reads its row when it begins, as a request does."""

        def work():
            row = self.row(which)
            if row is not None:
                verb(row)

        self.start(name, work)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(size=st.sampled_from([*[len(ARCHIVE)] * 7, 3 * MIB]))
    def start_request(self, size):
        def ask(row):
            ticket = lifecycle.request_upload(row, size)
            if size == len(ARCHIVE):
                self.ticket = ticket
            self.must_take_parts(ticket, b"a part")

        self.act_on("ask", "backup", ask)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(first=st.sampled_from([1, 1, 1, 51]))
    def start_stream(self, first):
        """The archive is sent in an upload without an announced size, in place of the other."""

        def ask(row):
            ticket = lifecycle.request_parts(row, first)
            self.must_take_parts(ticket, FIRST, REST)

        self.act_on("stream", "backup", ask)

    @staticmethod
    def said(kind):
        parts = tuple(ReportedPart(number, etag) for number, etag in enumerate(ETAGS, 1))
        return {
            "listed": Report(True, CHECKSUM, len(ARCHIVE), parts),
            "unlisted": Report(True, CHECKSUM, len(ARCHIVE)),
            "size": Report(True, CHECKSUM, len(ARCHIVE) + 1, parts),
            "etag": Report(True, CHECKSUM, len(ARCHIVE), (ReportedPart(1, "0" * 32), parts[1])),
            "missing part": Report(True, CHECKSUM, len(ARCHIVE), parts[:1]),
            "another part": Report(True, CHECKSUM, len(ARCHIVE), (ReportedPart(7, "0" * 32),)),
            "failure": Report(False),
        }[kind]

    @precondition(lambda self: len(self.actors) < 4)
    @rule(kind=st.sampled_from([*["listed", "unlisted"] * 3, *LIES]))
    def start_report(self, kind):
        self.act_on("report", "backup", lambda row: lifecycle.record_report(row, self.said(kind)))

    @precondition(lambda self: len(self.actors) < 4)
    @rule(
        older_than=st.sampled_from([NOW, None]), recover=st.sampled_from([True, True, True, False])
    )
    def start_sweep(self, older_than, recover):
        def sweep():
            list(lifecycle.sweep(older_than=older_than, recover=recover, workers=1))

        self.start("sweep", sweep)

    @precondition(lambda self: len(self.actors) < 4)
    @rule()
    def start_expire(self):
        expire = lambda row: lifecycle.expire(Backup.objects.filter(pk=row.pk))  # noqa: E731
        self.act_on("expire", "backup", expire)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(which=st.sampled_from(["backup", "old"]))
    def start_delete(self, which):
        self.act_on("delete", which, lifecycle.delete_backup)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(reply=st.sampled_from([*REPLIES, "done"]))
    def start_delete_own(self, reply):
        def delete(row):
            actor_here.get().reply = reply
            lifecycle.delete_backup(row)

        self.act_on("delete own", "own", delete)

    @precondition(lambda self: self.deletes_in_the_background)
    @rule(successful=st.sampled_from([True, True, False]))
    def node_reports_deletion(self, successful):
        """Calagopus' daemon deletes after it has answered."""
        self.deletes_in_the_background = False
        if successful:
            self.on_the_disk.discard(self.own.pk)
        row = self.row("own")
        if row is not None:
            lifecycle.record_deletion(row, successful=successful)

    @precondition(lambda self: len(self.actors) < 4)
    @rule()
    def start_rotate(self):
        self.start("rotate", lambda: lifecycle.rotate_backups(self.server) and None)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(which=st.sampled_from(["backup", "old", "own"]), reply=st.sampled_from(REPLIES))
    def start_restore(self, which, reply):
        def restore(row):
            actor_here.get().reply = reply
            lifecycle.restore(row)

        self.act_on("restore", which, restore)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(reply=st.sampled_from(REPLIES))
    def start_back_up(self, reply):
        def back_up():
            actor_here.get().reply = reply
            lifecycle.back_up(self.server, rotating=True)

        self.start("back up", back_up)

    @precondition(lambda self: len(self.actors) < 4)
    @rule()
    def start_host(self):
        """The host project renames what it read a while ago."""

        def rename():
            server = Server.objects.get(pk=self.server.pk)
            rows = [Node.objects.get(pk=server.node_id), server, *server.backups.all()]
            gate()
            for row in rows:
                row.name = f"{row.name}+"[-50:]
                try:
                    row.save()
                except DatabaseError:
                    # Of the three, backups may be gone by then.
                    assert not type(row).objects.filter(pk=row.pk).exists()
                tried["stale saves"] += 1
                gate()

        self.start("host", rename)

    @rule(which=st.sampled_from(["backup", "old", "own"]))
    def start_restore_report(self, which):
        row = self.row(which)
        # A late repeat for an earlier restore, while this one is asked for, would end this one.
        is_reported = self.is_called_for_no_restore() or (row and row.pk in self.on_the_node)
        if row is not None and is_reported:
            self.on_the_node.discard(row.pk)
            about = Server.objects.get(pk=row.server_id).restoring_backup_id
            lifecycle.record_restore(row, successful=True)
            still = Server.objects.get(pk=row.server_id).restoring_backup_id
            assert still == (None if about == row.pk else about)

    def is_called_for_no_restore(self):
        return all(actor.name != "restore" for actor in self.actors)

    @precondition(is_called_for_no_restore)  # no call lasts so long
    @rule()
    def end_restore_limit(self):
        """Its node has been silent for longer than RESTORE_TIMEOUT: it holds nothing any more."""
        began = timezone.now() - dt.timedelta(hours=25)
        if Server.objects.filter(status=RESTORING).update(restore_started_at=began):
            tried["overruns"] += 1
            self.on_the_node.clear()

    @precondition(lambda self: len(self.actors) < 4)
    @rule()
    def start_restart(self):
        """The node's daemon forgets what it was doing, says so, and takes no calls before."""

        def restart():
            self.on_the_node.clear()
            self.restarting += 1
            try:
                lifecycle.node_restarted(Node.objects.get(pk=self.server.node_id))
            finally:
                self.restarting -= 1

        self.start("restart", restart)

    @rule(which=st.sampled_from(["backup", "old"]), locked=st.booleans())
    def start_lock(self, which, locked=True):
        row = self.row(which)
        if row is not None:
            (lifecycle.lock_backup if locked else lifecycle.unlock_backup)(row)

    # What the node does at the store, and what the store does

    @precondition(lambda self: self.ticket is not None)
    @rule(which=st.sampled_from([*["both"] * 6, "first", "short"]))
    def parts_arrive(self, which):
        """Also after the end: URLs live on."""
        bodies = {"both": (FIRST, REST), "first": (FIRST,), "short": (FIRST, b"")}[which]
        self.must_take_parts(self.ticket, *bodies)

    def must_take_parts(self, ticket, *bodies):
        """A PUT may fail once the row has ended or names another upload, and not before."""
        for url, body in zip(ticket.urls, bodies, strict=False):
            status = requests.put(url, data=body, timeout=30).status_code
            if status == 200:
                continue
            assert status == 404, status
            [upload_id] = parse_qs(urlsplit(url).query)["uploadId"]
            row = self.row()
            in_force = row is not None and row.upload_id == upload_id
            assert not (in_force and row.state is Backup.State.UPLOADING), "a promised PUT failed"

    @rule()
    def store_stops_answering(self):
        """The next Complete is taken in hand, and not answered in time."""
        self.falls_silent = True

    @rule()
    def store_refuses_deletions(self):
        """As under a policy, until it is changed again."""
        self.refuses_deletions = not self.refuses_deletions

    @rule()
    def store_stops_answering_deletions(self):
        """The next one is taken in hand, and not answered in time."""
        self.leaves_deletions_unanswered = True

    @precondition(lambda self: self.unanswered)
    @rule()
    def store_finishes_late(self):
        for finish in self.unanswered:
            finish()
        self.unanswered.clear()

    # Time goes on, or ends

    @precondition(lambda self: self.actors)
    @rule(data=st.data(), steps=st.integers(1, 4))
    def step_an_actor(self, data, steps):
        self.go_on(data, steps)

    @precondition(lambda self: len(self.actors) > 1)
    @rule(data=st.data(), steps=st.integers(1, 8))
    def step_another_actor(self, data, steps):
        """The same, to be chosen more often while several are at work."""
        self.go_on(data, steps)

    def go_on(self, data, steps):
        actor = data.draw(st.sampled_from(self.actors))
        for _ in range(steps):
            if actor.is_at_gate:
                actor.step()
                tried["steps"] += 1
        self.remove_finished_actors()

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def finish_an_actor(self, data):
        data.draw(st.sampled_from(self.actors)).finish()
        self.remove_finished_actors()

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def kill_an_actor(self, data):
        data.draw(st.sampled_from(self.actors)).kill()
        tried["deaths"] += 1
        self.remove_finished_actors()

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def freeze_an_actor(self, data):
        """It goes on when it is stepped again, and its claim is over by then."""
        data.draw(st.sampled_from(self.actors)).frozen = True
        tried["freezes"] += 1
        time.sleep(LEASE.total_seconds())

    def remove_finished_actors(self):
        for actor in [a for a in self.actors if not a.is_at_gate]:
            self.actors.remove(actor)
            foreseen = actor.answer in {"done", "killed"} or isinstance(
                actor.answer, BackupsRemoteError
            )
            assert foreseen, actor.answer

    # What must hold

    def is_there(self, row):
        """Whether the archive is where it must be."""
        if row.pk == self.own.pk:
            return row.pk in self.on_the_disk
        return self.head(row) is not None

    def head(self, row):
        try:
            return self.s3.head_object(Bucket=self.bucket, Key=row.object_key)
        except self.s3.exceptions.ClientError:
            return None

    @invariant()
    def completed_backups_have_objects(self):
        if not hasattr(self, "backup"):
            return
        for which in ("backup", "old"):
            row = self.row(which)
            if row is None or row.state is not Backup.State.COMPLETED:
                continue
            head = self.head(row)
            if head is None and self.row(which) != row:
                continue  # deleted by an actor that did not stop in between
            assert head is not None, "a completed backup has no object"
            assert head["ETag"].strip('"') == row.object_etag
            assert head["Metadata"]["backup-mark"] == row.upload_mark
            assert head["ContentLength"] == row.size

    @invariant()
    def archives_on_the_disk_have_rows(self):
        """Nothing else would ever delete one; and a whole backup has its own."""
        if not hasattr(self, "own"):
            return
        row = self.row("own")
        if row is None:
            assert not self.on_the_disk, "the row is gone, and the archive lies on the node's disk"
        elif row.state is Backup.State.COMPLETED:
            assert self.on_the_disk, "a completed backup has no archive on its node"

    @invariant()
    def events_explain_states(self):
        if not hasattr(self, "backup"):
            return
        # Those that "back up" has begun, and those whose rows are gone, as well.
        servers = [self.server.uuid, self.own.server_uuid]
        created = BackupEvent.objects.filter(server_uuid__in=servers, kind=EventKind.CREATED)
        for uuid in created.values_list("backup_uuid", flat=True):
            with TOTALS.counting("unexplained"):
                wrong = unexplained(uuid)
                assert wrong == [], wrong

    @invariant()
    def restored_backups_have_objects(self):
        if not hasattr(self, "backup"):
            return
        for server in self.restoring_servers():
            if not server.is_restoring:
                continue
            with TOTALS.counting("restored"):
                row = server.restoring_backup
                assert row is not None, "the row of a backup under restore is gone"
                assert row.state is Backup.State.COMPLETED, row.state
                assert self.is_there(row), "an archive under restore is gone"

    @invariant()
    def archives_that_the_node_reads_are_there(self):
        if not hasattr(self, "backup"):
            return
        with TOTALS.counting("restored"):
            for row in Backup.objects.filter(pk__in=self.on_the_node):
                assert self.is_there(row), "the node's daemon reads an archive that is gone"
            left = Backup.objects.filter(pk__in=self.on_the_node).count()
            assert left == len(self.on_the_node), "a backup that the node restores has no row"

    @invariant()
    def completed_backups_stay_completed(self):
        if not hasattr(self, "backup"):
            return
        row = self.row()
        ended = row is None or row.state is Backup.State.DELETING
        successful = not ended and row.is_successful
        assert successful or ended or not self.was_successful, "a success was flipped"
        if successful and not self.was_successful:
            body = self.s3.get_object(Bucket=self.bucket, Key=row.object_key)["Body"].read()
            assert body == ARCHIVE
            assert row.checksum == ("" if row.is_recovered else CHECKSUM)
            assert row.is_verified is not row.is_recovered
        self.was_successful = successful

    def restoring_servers(self):
        servers = Server.objects.select_related("restoring_backup")
        return servers.filter(node=self.server.node_id, status=RESTORING)

    def end_restores(self):
        """Their node reports the end."""
        for server in self.restoring_servers():
            if server.restoring_backup is not None:
                lifecycle.record_restore(server.restoring_backup, successful=True)

    def teardown(self):
        for actor in list(self.actors):
            actor.kill()
        self.remove_finished_actors()
        if not hasattr(self, "backup"):
            return
        self.falls_silent = self.refuses_deletions = self.leaves_deletions_unanswered = False
        if self.unanswered:
            self.store_finishes_late()
        Backup.objects.update(quiet_until=None)
        self.end_restores()
        time.sleep(LEASE.total_seconds())
        outcomes = list(lifecycle.sweep(older_than=NOW, workers=1))
        # Days later no object can appear any more.
        ended = Backup.objects.failed().exclude(completion_sent_at=None)
        ended.update(completed_at=timezone.now() - dt.timedelta(days=4))
        outcomes += lifecycle.sweep(older_than=NOW, workers=1)
        for row in Backup.objects.filter(server=self.server):
            history = (row.state, outcomes)
            assert row.state in {Backup.State.COMPLETED, Backup.State.FAILED}, history
            head = self.head(row) if row.object_key else None
            assert row.is_successful == (head is not None), history
        own = self.row("own")
        assert own is None or own.state is Backup.State.COMPLETED, (own.state, outcomes)
        self.archives_on_the_disk_have_rows()
        row = self.row()
        assert row is None or row.is_successful or not self.was_successful, outcomes
        tried["deleted" if row is None else str(row.state)] += 1
        self.completed_backups_have_objects()
        self.events_explain_states()
        left = self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=self.location)
        assert left.get("Uploads", []) == [], outcomes


class ActorsDaemon(Daemon):
    """The node's daemon: it does what the calling actor's ``reply`` says, between two gates."""

    #: Its ``machine`` is the one that runs.
    backend = None

    def make_backup(self, backup):
        reply = self._reply()
        if reply == "called back":
            # It asks, sends and reports before it has answered the panel.
            row = Backup.objects.select_related("server").get(pk=backup.pk)
            ticket = lifecycle.request_upload(row, len(ARCHIVE))
            for url, body in zip(ticket.urls, (FIRST, REST), strict=True):
                requests.put(url, data=body, timeout=30)
            lifecycle.record_report(row, Life.said("listed"))
        self._answer(reply)

    def restore_backup(self, backup, *, link, truncate):
        reply = self._reply()
        if reply in {"accepted", "lost", "called back"}:
            self.backend.machine.on_the_node.add(backup.pk)
            tried["restores on the node"] += 1
        if reply == "called back":
            self.backend.machine.on_the_node.discard(backup.pk)
            lifecycle.record_restore(backup, successful=True)
        self._answer(reply)

    def delete_backup(self, backup):
        reply = self._reply()
        machine = self.backend.machine
        if reply in {"done", "lost", "called back"}:
            machine.on_the_disk.discard(backup.pk)
            tried["deletions on the node"] += 1
        row = Backup.objects.select_related("server").filter(pk=backup.pk).first()
        if reply == "called back" and row is not None:
            lifecycle.record_deletion(row, successful=True)
        machine.deletes_in_the_background |= reply == "accepted"
        self._answer(reply)
        return Deletion.DONE if reply in {"done", "lost"} else Deletion.UNDER_WAY

    def download_url(self, backup, *, user_uuid):
        raise NotImplementedError

    def _reply(self):
        gate()
        if self.backend.machine.restarting:
            return "refused"
        return getattr(actor_here.get(), "reply", "done")

    def _answer(self, reply):
        gate()
        if reply == "refused":
            raise DaemonNotBegun("the node refused")
        if reply in {"lost", "unreached"}:
            raise DaemonUnclear("the node's answer was lost")


def answering_late(complete_upload, backend):
    """Complete, unless the store falls silent: then it may finish at any later time."""

    @functools.wraps(complete_upload)
    def wrapper(*args):
        machine = backend.machine
        if not machine.falls_silent:
            return complete_upload(*args)
        machine.falls_silent = False
        tried["silences"] += 1

        def finish():
            try:
                complete_upload(*args)
            except StorageError:
                tried["finished for nothing"] += 1

        machine.unanswered.append(finish)
        raise StorageTimeout

    return wrapper


def refusing_deletions(delete, backend):
    """Delete, unless the store refuses; or it may do so at any later time."""

    @functools.wraps(delete)
    def wrapper(*args, **kwargs):
        machine = backend.machine
        if machine.leaves_deletions_unanswered:
            machine.leaves_deletions_unanswered = False
            tried["unanswered deletions"] += 1
            machine.unanswered.append(lambda: delete(*args, **kwargs))
            raise StorageTimeout
        if machine.refuses_deletions:
            tried["refusals"] += 1
            raise StorageRefused
        delete(*args, **kwargs)

    return wrapper


def checking_rotation(plan_rotation):
    """Nothing verified gives way to what is not: as many verified ones are left as may stay."""

    @functools.wraps(plan_rotation)
    def wrapper(server):
        going = plan_rotation(server)
        with TOTALS.counting("displaced"):
            verified = {
                *Backup.objects.filter(server=server).verified().values_list("pk", flat=True)
            }
            left = verified - {backup.pk for backup in going}
            assert left == verified or len(left) >= max(server.backup_limit, 1)
        return going

    return wrapper
