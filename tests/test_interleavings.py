"""Random interleavings of everything that can happen to a backup, over the real store.

Each actor (a GET, a report, a failure, a sweep …) runs in a thread of its own, with its own
database connection, and stops at every gate: before and after each store call and each transition
of a row. Hypothesis chooses who goes on next, and who dies at its gate. Whatever happened, one
run of the sweep must leave each row final and true, and nothing in the store.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import os
import threading
from collections import Counter

import pytest
import requests
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backups_remote import lifecycle, storage
from backups_remote.exceptions import BackupsRemoteError
from backups_remote.lifecycle import reporting
from backups_remote.models import Backup
from backups_remote.types import Report, ReportedPart
from tests.factories import BackupFactory, ServerFactory
from tests.reliability.tally import TOTALS

MIB = 1024**2
FIRST, REST = os.urandom(5 * MIB), b"the rest"
ARCHIVE = FIRST + REST
CHECKSUM = f"sha1:{hashlib.sha1(ARCHIVE).hexdigest()}"
ETAGS = tuple(hashlib.md5(body).hexdigest() for body in (FIRST, REST))
GATED_CALLS = ("create_upload", "list_parts", "complete_upload", "abort_upload", "stat", "delete")
NOW = dt.timedelta(0)
LIES = ("size", "etag", "missing part", "failure")

tried = Counter()


class Killed(BaseException):
    """The process died here: nothing that follows may run, not even an except Exception."""


class Actor(threading.Thread):
    """Work that stops at every gate until it is let on."""

    here = threading.local()

    def __init__(self, name, work):
        super().__init__(name=name, daemon=True)
        self.work = work
        self.go = threading.Event()
        self.stopped = threading.Event()
        self.doomed = False
        self.answer = None
        self.start()
        self.wait()

    def run(self):
        self.here.actor = self
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
    actor = getattr(Actor.here, "actor", None)
    if actor is not None:
        actor.pause()


def gated(call):
    @functools.wraps(call)
    def wrapper(*args, **kwargs):
        gate()
        result = call(*args, **kwargs)
        gate()
        return result

    return wrapper


class Life(RuleBasedStateMachine):
    """One backup, and all that can happen to it at once."""

    s3 = bucket = location = None

    def __init__(self):
        super().__init__()
        self.actors = []
        self.ticket = None
        self.was_successful = False

    @initialize(
        far=st.sampled_from(["uploaded", "uploaded", "uploaded", "asked", "new"]),
        crowd=st.lists(st.sampled_from(["report", "sweep", "ask", "failure"]), max_size=3),
    )
    def begin(self, far, crowd):
        """Most sequences start where the dangers are: a whole upload, several at work on it."""
        self.backup = BackupFactory(server=ServerFactory(), disk="s3")
        if far != "new":
            self.ticket = lifecycle.request_upload(self.row(), len(ARCHIVE))
        if far == "uploaded":
            self.parts_arrive("both")
        tried["sequences"] += 1
        TOTALS.add(sequences=1)
        for who in crowd:
            if who == "report":
                self.somebody_reports("listed")
            elif who == "failure":
                self.somebody_reports("failure")
            elif who.startswith("ask"):
                self.somebody_asks_for_urls(len(ARCHIVE) if who == "ask" else 3 * MIB)
            else:
                self.a_sweep_runs(NOW, recover=True)

    # Who comes along

    def start(self, name, work):
        tried["actors"] += 1
        self.actors.append(Actor(name, work))

    def row(self):
        return Backup.objects.select_related("server").get(pk=self.backup.pk)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(size=st.sampled_from([*[len(ARCHIVE)] * 7, 3 * MIB]))
    def somebody_asks_for_urls(self, size):
        def ask():
            ticket = lifecycle.request_upload(self.row(), size)
            if size == len(ARCHIVE):
                self.ticket = ticket

        self.start("ask", ask)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(kind=st.sampled_from(["listed", "unlisted", "listed", "unlisted", *LIES]))
    def somebody_reports(self, kind):
        parts = tuple(ReportedPart(number, etag) for number, etag in enumerate(ETAGS, 1))
        report = {
            "listed": Report(True, CHECKSUM, len(ARCHIVE), parts),
            "unlisted": Report(True, CHECKSUM, len(ARCHIVE)),
            "size": Report(True, CHECKSUM, len(ARCHIVE) + 1, parts),
            "etag": Report(True, CHECKSUM, len(ARCHIVE), (ReportedPart(1, "0" * 32), parts[1])),
            "missing part": Report(True, CHECKSUM, len(ARCHIVE), parts[:1]),
            "failure": Report(False),
        }[kind]
        self.start("report", lambda: lifecycle.record_report(self.row(), report))

    @precondition(lambda self: len(self.actors) < 4)
    @rule(
        older_than=st.sampled_from([NOW, None]), recover=st.sampled_from([True, True, True, False])
    )
    def a_sweep_runs(self, older_than, recover):
        def sweep():
            list(lifecycle.sweep(older_than=older_than, disk="s3", recover=recover, workers=1))

        self.start("sweep", sweep)

    # What the node does at the store

    @precondition(lambda self: self.ticket is not None)
    @rule(which=st.sampled_from([*["both"] * 6, "first", "short"]))
    def parts_arrive(self, which):
        bodies = {"both": (FIRST, REST), "first": (FIRST,), "short": (FIRST, b"")}[which]
        for url, body in zip(self.ticket.urls, bodies, strict=False):
            status = requests.put(url, data=body, timeout=30).status_code
            assert status in {200, 404}, status

    # Time goes on, or ends

    @precondition(lambda self: self.actors)
    @rule(data=st.data(), steps=st.integers(1, 4))
    def somebody_goes_on(self, data, steps):
        self.go_on(data, steps)

    @precondition(lambda self: len(self.actors) > 1)
    @rule(data=st.data(), steps=st.integers(1, 8))
    def another_goes_on(self, data, steps):
        """The same, to be chosen more often while several are at work."""
        self.go_on(data, steps)

    def go_on(self, data, steps):
        actor = data.draw(st.sampled_from(self.actors))
        for _ in range(steps):
            if actor.is_at_gate:
                actor.step()
                tried["steps"] += 1
        self.bury_the_finished()

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def somebody_finishes(self, data):
        data.draw(st.sampled_from(self.actors)).finish()
        self.bury_the_finished()

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def somebody_dies(self, data):
        data.draw(st.sampled_from(self.actors)).kill()
        tried["deaths"] += 1
        self.bury_the_finished()

    def bury_the_finished(self):
        for actor in [a for a in self.actors if not a.is_at_gate]:
            self.actors.remove(actor)
            foreseen = actor.answer in {"done", "killed"} or isinstance(
                actor.answer, BackupsRemoteError
            )
            assert foreseen, actor.answer

    # What must hold

    def object_in_store(self):
        row = self.row()
        if not row.object_key:
            return None, None
        try:
            head = self.s3.head_object(Bucket=self.bucket, Key=row.object_key)
        except self.s3.exceptions.ClientError:
            return row, None
        return row, head

    @invariant()
    def a_success_is_whole_and_stays_one(self):
        if not hasattr(self, "backup"):
            return
        successful = self.row().is_successful
        assert successful or not self.was_successful, "a success was flipped"
        if successful and not self.was_successful:
            self.must_be_true()
        self.was_successful = successful

    def must_be_true(self):
        row, head = self.object_in_store()
        assert row.is_successful == (head is not None), (row.state, head)
        if head is not None:
            assert head["ContentLength"] == row.size == len(ARCHIVE)
            assert head["Metadata"]["backup-mark"] == row.upload_mark
            body = self.s3.get_object(Bucket=self.bucket, Key=row.object_key)["Body"].read()
            assert body == ARCHIVE
            assert row.checksum == ("" if row.is_recovered else CHECKSUM)

    def teardown(self):
        for actor in list(self.actors):
            actor.kill()
        self.bury_the_finished()
        if not hasattr(self, "backup"):
            return
        outcomes = list(lifecycle.sweep(older_than=NOW, disk="s3", workers=1))
        row = self.row()
        history = (row.state, outcomes)
        assert row.state in {Backup.State.COMPLETED, Backup.State.FAILED}, history
        assert row.is_successful or not self.was_successful, history
        if row.object_key:
            self.must_be_true()
        tried[str(row.state)] += 1
        left = self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=self.location)
        assert left.get("Uploads", []) == [], history


@pytest.fixture
def life(disk, s3, store, location, monkeypatch):
    """The machine's class, on the test's own disk, with every gate in place."""
    backend = storage.get_backend(disk)
    for name in GATED_CALLS:
        monkeypatch.setattr(backend, name, gated(getattr(backend, name)))
    monkeypatch.setattr(Backup, "_move", gated(Backup._move))
    monkeypatch.setattr(reporting, "PATIENCE", 0.05)
    tried.clear()
    yield type("Machine", (Life,), {"s3": s3, "bucket": store.bucket, "location": f"{location}/"})
    counted = ", ".join(f"{count} {what}" for what, count in sorted(tried.items()))
    print(f"\nTried: {counted}")


def limited(examples, **more):
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def play(life, crowd, schedule):
    """Let a crowd loose on a whole upload; ``schedule`` says who goes on, how far, and who dies."""
    machine = life()
    try:
        machine.begin("uploaded", crowd)
        for who, steps in schedule:
            if not machine.actors:
                break
            actor = machine.actors[who % len(machine.actors)]
            if steps == 0:
                actor.kill()
                tried["deaths"] += 1
            for _ in range(steps):
                if not actor.is_at_gate:
                    break
                actor.step()
                tried["steps"] += 1
            machine.bury_the_finished()
            machine.a_success_is_whole_and_stays_one()
    finally:
        machine.teardown()


CROWDS = st.lists(
    st.sampled_from(["report", "report", "sweep", "failure", "ask", "ask for less"]),
    min_size=2,
    max_size=4,
)
#: Who, and how many gates on: all the way as often as a little, to death (0) now and then.
SCHEDULES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([1, 1, 99, 99, 2, 3, 5, 0])),
    min_size=4,
    max_size=12,
)


def play_schedules(life, examples):
    with TOTALS.losing():
        limited(examples)(
            given(CROWDS, SCHEDULES)(lambda crowd, schedule: play(life, crowd, schedule))
        )()


def play_interleavings(life, examples, steps):
    with TOTALS.losing():
        run_state_machine_as_test(life, settings=limited(examples, stateful_step_count=steps))


@pytest.mark.django_db(transaction=True)
def test_no_schedule_of_a_crowd_loses_a_backup(life):
    play_schedules(life, 30)


@pytest.mark.django_db(transaction=True)
def test_no_interleaving_loses_a_backup(life):
    play_interleavings(life, 10, 20)


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.django_db(transaction=True)
def test_no_long_schedule_of_a_crowd_loses_a_backup(life):
    play_schedules(life, 200)


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.django_db(transaction=True)
def test_no_long_interleaving_loses_a_backup(life):
    play_interleavings(life, 30, 40)
