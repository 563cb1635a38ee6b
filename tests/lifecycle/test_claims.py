"""Claims: leases, renewal and quiet periods."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.lifecycle import lease
from backups_remote.lifecycle import report as reports
from backups_remote.lifecycle.sweep import pool
from backups_remote.models import Backup
from tests.support.memory import (
    MINUTE,
    reported,
    row,
    success,
    uploaded,
)
from tests.support.moments import from_now
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        ("release", ()),
        ("renew_claim", (dt.datetime(2100, 1, 1, tzinfo=dt.UTC),)),
        ("take_back_report", ()),
        ("fail_reported", ("why",)),
    ],
)
def test_holder_of_lost_claim_changes_nothing(step, arguments):
    loser = reported()
    winner = Backup.objects.get()
    Backup.objects.update(claimed_until=timezone.now())
    assert winner.claim(timezone.now() + dt.timedelta(minutes=2))
    assert not getattr(loser, step)(*arguments)
    row = Backup.objects.get()
    assert (row.claimed_until, row.claimed_by) == (winner.claimed_until, winner.claimed_by)


S = Backup.State


def test_recorded_report_is_claimed():
    reported()
    assert not row().claim(from_now(minutes=1))


def test_claim_ends_without_renewal():
    reported(held_for=-MINUTE)
    assert row().claim(from_now(minutes=1))


def test_upload_in_quiet_period_cannot_be_claimed():
    backup = reported()
    assert backup.release(quiet_until=from_now(minutes=1))
    assert not row().claim(from_now(minutes=1))
    Backup.objects.update(quiet_until=timezone.now())
    assert row().claim(from_now(minutes=1))


def test_claim_of_dead_panel_ends_while_node_retries():
    """A daemon tries for 30 seconds, and one of its tries must find the backup free."""
    patience = dt.timedelta(seconds=reports.PATIENCE)
    assert lease.LEASE + 2 * patience < dt.timedelta(seconds=30)
    assert 2 * dt.timedelta(seconds=lease.RENEW_EVERY) < lease.LEASE


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", ["report", "sweep", "recovery"])
def test_holder_renews_its_claim_during_slow_completion(memory, brief_lease, monkeypatch, who):
    # Long: nobody is to get the claim between two renewals, however slow this machine is.
    monkeypatch.setattr(lease, "LEASE", dt.timedelta(minutes=1))
    backup = uploaded() if who != "sweep" else reported(held_for=-MINUTE)
    taken = []

    def slowly(call):
        first = row().claimed_until
        wait_until(lambda: row().claimed_until > first, "a renewal")
        taken.append(row().claim(from_now(minutes=1)))
        connections.close_all()
        return call()

    memory.instead["complete_upload"] = slowly
    if who == "report":
        lifecycle.record_report(backup, success(backup))
    else:
        list(lifecycle.sweep(older_than=dt.timedelta(0)))
    assert taken == [False]
    assert row().state is S.COMPLETED


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_failed_renewal_does_not_stop_the_completion(memory, brief_lease, monkeypatch, error):
    failed, failed_again = threading.Event(), threading.Event()

    def fail(*_):
        (failed_again if failed.is_set() else failed).set()
        raise error

    monkeypatch.setattr(Backup, "renew_claim", fail)
    # The thread that renews lives on after the first failure.
    memory.instead["complete_upload"] = lambda call: failed_again.wait(30) and call()
    backup = uploaded()
    lifecycle.record_report(backup, success(backup))
    assert row().state is S.COMPLETED


def test_completion_succeeds_without_a_renewal_thread(memory, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert lease.call_with_lease(Backup(), lambda: "done") == "done"


@pytest.mark.django_db(transaction=True)
def test_store_call_holds_no_pool_connection(memory, monkeypatch):
    monkeypatch.setattr(lease, "is_pooled", lambda: True)
    mine, held = connections["default"], []

    def notice(call):
        held.append(mine.connection is not None)
        return call()

    memory.instead["complete_upload"] = notice
    backup = uploaded()
    lifecycle.record_report(backup, success(backup))
    assert held == [False]


@pytest.mark.django_db(transaction=True)
def test_long_store_call_ends_idle_connection(memory, brief_lease):
    mine = connections["default"]
    mine.ensure_connection()
    assert lease.call_with_lease(uploaded(), lambda: time.sleep(1) or "done") == "done"
    assert mine.connection is None


def test_brief_store_call_keeps_the_connection():
    backup = uploaded()
    before = connections["default"].connection
    lease.call_with_lease(backup, lambda: None)
    assert connections["default"].connection is before is not None


def use_database(opened):
    """Open the database in the calling thread, and keep the connection to look at."""
    opened.append(connections["default"])
    opened[-1].ensure_connection()


@pytest.mark.django_db(transaction=True)
def test_renewing_thread_closes_its_connections(memory, brief_lease, monkeypatch):
    renew, opened = lease.renew, []

    def notice(backup):
        opened.append(connections["default"])
        renew(backup)

    monkeypatch.setattr(lease, "renew", notice)
    backup = uploaded()
    memory.instead["complete_upload"] = lambda call: wait_until(lambda: opened) and call()
    lifecycle.record_report(backup, success(backup))
    assert connections["default"] not in opened
    wait_until(lambda: all(connection.connection is None for connection in opened))


def test_claims_are_renewed_again_after_an_idle_time(monkeypatch):
    """The renewing thread ends when there is nothing to do; the next claim starts another."""
    monkeypatch.setattr(lease, "_IDLE", 0.05)
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.1)
    renewer, renewed = lease._Renewer(), []
    monkeypatch.setattr(lease, "_renewer", renewer)
    monkeypatch.setattr(lease, "renew", renewed.append)
    for backup in ("first", "second"):
        lease.call_with_lease(backup, lambda b=backup: wait_until(lambda: b in renewed))
        wait_until(lambda: renewer._thread is None)
    assert set(renewed) == {"first", "second"}


def test_forked_process_renews_its_own_claims():
    lease._renewer.add(held := lease._HeldClaim(Backup(), time.monotonic()))
    parent = lease._renewer
    try:
        lease._start_afresh()
        assert lease._renewer is not parent
        assert not lease._renewer._claims
    finally:
        lease._renewer = parent
        parent.remove(held)


def test_sweep_threads_close_their_connections(memory):
    opened = []
    list(pool.in_parallel(range(3), lambda _: use_database(opened), workers=2))
    assert [connection.connection for connection in opened] == [None] * 3
