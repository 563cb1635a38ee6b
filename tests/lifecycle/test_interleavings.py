"""Random interleavings of the verbs lose no backup."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from backups_remote import storage
from backups_remote.lifecycle import complete, lease, rotate
from backups_remote.lifecycle import report as reporting
from backups_remote.models import Backup, Server
from tests.lifecycle.interleavings import (
    GATED_CALLS,
    LEASE,
    ActorsDaemon,
    Life,
    answering_late,
    checking_rotation,
    gated,
    refusing_deletions,
    tried,
    unless_frozen,
)
from tests.support.tally import TOTALS

pytestmark = pytest.mark.django_db(transaction=True)

#: The examples of the longer runs are others every time.
RANDOM = {"derandomize": False}


@pytest.fixture
def life(disk, s3, store, location, monkeypatch, settings):
    """The machine's class, on the test's own disk, with every gate in place."""
    settings.BACKUPS_REMOTE = {
        **settings.BACKUPS_REMOTE,
        "DAEMON": "tests.lifecycle.interleavings.ActorsDaemon",
    }
    backend = storage.get_backend(disk)
    monkeypatch.setattr(
        backend, "complete_upload", answering_late(backend.complete_upload, backend)
    )
    monkeypatch.setattr(backend, "delete", refusing_deletions(backend.delete, backend))
    for name in GATED_CALLS:
        monkeypatch.setattr(backend, name, gated(getattr(backend, name)))
    monkeypatch.setattr(Backup, "_move", gated(Backup._move))
    monkeypatch.setattr(Server, "end_overdue_restore", gated(Server.end_overdue_restore))
    monkeypatch.setattr(rotate, "plan_rotation", checking_rotation(rotate.plan_rotation))
    monkeypatch.setattr(reporting, "PATIENCE", 0.05)
    monkeypatch.setattr(complete, "_LOOKS_AFTER_REJECTION", (0.0, 0.02))
    monkeypatch.setattr(lease, "LEASE", LEASE)
    monkeypatch.setattr(lease, "RENEW_EVERY", LEASE.total_seconds() / 4)
    monkeypatch.setattr(lease, "renew", unless_frozen(lease.renew))
    tried.clear()
    place = {"s3": s3, "bucket": store.bucket, "location": f"{location}/", "backend": backend}
    machine = type("Machine", (Life,), place)
    monkeypatch.setattr(ActorsDaemon, "backend", backend)
    yield machine
    counted = ", ".join(f"{count} {what}" for what, count in sorted(tried.items()))
    print(f"\nTried: {counted}")


def limited(examples, **more):
    return hypothesis_settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        # A failing sequence is not shrunk: it takes minutes, and timing is part of it.
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        **more,
    )


def play(life, far, crowd, schedule):
    """Let a crowd loose on the backups; ``schedule`` says who goes on, how far, and who dies."""
    machine = life()
    try:
        machine.begin(far, crowd)
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
            machine.remove_finished_actors()
            machine.completed_backups_have_objects()
            machine.restored_backups_have_objects()
            machine.archives_that_the_node_reads_are_there()
            machine.archives_on_the_disk_have_rows()
            machine.completed_backups_stay_completed()
            machine.events_explain_states()
    finally:
        machine.teardown()


#: How far the newer backup is, and who is let loose on it.
UPLOADED = st.tuples(
    st.just("uploaded"),
    st.lists(
        st.sampled_from(
            [
                *("report", "report", "sweep", "failure", "ask", "ask for less", "refused"),
                *("expire", "host", "host", "rotate"),
            ]
        ),
        min_size=2,
        max_size=4,
    ),
)


WHOLE = st.tuples(
    st.just("whole"),
    st.lists(
        st.sampled_from(
            [
                *["delete", "rotate", "delete old", "host"] * 2,
                *["restore", "restore old", "sweep", "lock", "overrun"],
                *["restore unheard", "restore refused", "back up", "restart"],
            ]
        ),
        min_size=1,
        max_size=3,
    ).map(lambda crowd: [*crowd, "restore" if "delete" in crowd else "restore old"]),
)


#: Several delete at once, in a store that refuses for a while, or finishes late.
REFUSED = st.tuples(
    st.just("whole"),
    st.lists(
        st.sampled_from(
            [*["delete old", "delete old", "delete", "rotate", "sweep"], "restore old", "refusals"]
        ),
        min_size=2,
        max_size=4,
    ).flatmap(lambda crowd: st.permutations([*crowd, "refusals", "silent deletion"])),
)


#: What lies on the node's own disk is deleted while it is restored, by several at once.
ON_THE_NODE = st.tuples(
    st.just("whole"),
    st.lists(
        st.sampled_from(["delete own", "delete own early", "delete own unheard", "sweep"]),
        min_size=1,
        max_size=3,
    ).flatmap(lambda crowd: st.permutations([*crowd, "restore own"])),
)


#: The node restarts while it is called for a restore.
RESTARTED = st.tuples(
    st.just("whole"),
    st.lists(st.sampled_from(["rotate", "restore", "restore report"]), max_size=1).flatmap(
        lambda crowd: st.permutations([*crowd, "restore old", "restart", "delete old"])
    ),
)


#: Who, and how many gates on: all the way as often as a little, to death (0) now and then.
SCHEDULES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([1, 1, 99, 99, 2, 3, 5, 0])),
    min_size=4,
    max_size=12,
)


def play_schedules(life, examples, **more):
    with TOTALS.losing():
        limited(examples, **more)(
            given(st.one_of(UPLOADED, WHOLE, REFUSED, ON_THE_NODE, RESTARTED), SCHEDULES)(
                lambda crowd, schedule: play(life, *crowd, schedule)
            )
        )()


def play_interleavings(life, examples, steps, **more):
    with TOTALS.losing():
        run_state_machine_as_test(
            life, settings=limited(examples, stateful_step_count=steps, **more)
        )


def test_no_random_schedule_loses_a_backup(life):
    play_schedules(life, 20)


def test_no_interleaving_loses_a_backup(life):
    play_interleavings(life, 7, 20)


@pytest.mark.parametrize("restore", ["restore old", "restore unheard"])
def test_restart_and_deletion_at_any_step_of_a_restore_lose_nothing(life, restore):
    last = 99
    for steps in range(1, 7):
        play(
            life,
            "whole",
            [restore, "restart", "delete old"],
            [(0, steps), (1, last), (1, last), (0, last)],
        )


@pytest.mark.sampled
def test_sampled_schedules_and_interleavings_lose_no_backup(life):
    """Where several write at once: SQLite lets one in at a time."""
    play_schedules(life, 10)
    play_interleavings(life, 4, 20)


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_no_long_random_schedule_loses_a_backup(life):
    play_schedules(life, 200, **RANDOM)


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_no_long_interleaving_loses_a_backup(life):
    play_interleavings(life, 30, 40, **RANDOM)
