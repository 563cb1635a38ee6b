"""Crashes and store faults at every step of every call; one sweep repairs what they leave.

A case is a scenario, one thing that goes wrong in it (the process is killed before or after a
step, or one call to the store is answered wrongly), and a node that tries again or is gone. Cases
of a panel share a database and are swept together; cases of the command are swept one by one.
"""

from __future__ import annotations

import functools
import itertools
import operator
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from django.db import connection

from backups_remote.models import Backup
from backups_remote.types import Report
from tests.reliability.cases import (
    ATTEMPTS,
    FAILED,
    FAILURE,
    FAULTS,
    OPERATIONS,
    SCENARIOS,
    WHOLE,
    Stage,
    Tally,
    possible,
    store_steps,
)
from tests.reliability.world import parts_of
from tests.support.daemon import success
from tests.support.rows import remove

NODE = ("retries", "gone")
#: How many commands run at once.
LANES = 4
#: How long a node tries where a dead panel's claim may outlast any node, in seconds.
CLAIMED_PERSEVERANCE = 3
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
CALLING_STORE = [scenario.name for scenario in SCENARIOS if scenario.calls_store]


#: How many cases of each kind a short run plays, and which: the same in every run.
SAMPLE = 16
#: Of how many scenarios: the steps of each are counted before one is chosen.
SCENARIOS_SAMPLED = 5
SEED = int(os.environ.get("SEED", "1"))


def sample(cases, size=SAMPLE, of=""):
    cases = list(cases)
    return random.Random(f"{SEED}{of}").sample(cases, min(size, len(cases)))


def sampled_scenarios(of, names=BY_NAME):
    """Other ones for each kind of test that asks ``of`` itself."""
    return sample(names, SCENARIOS_SAMPLED, of)


@pytest.fixture
def stage(world, panel, server, node, disk, archive):
    return Stage(world, panel, server, disk, archive, node.bearer_token)


def steps_of(stage, scenario):
    """What the call does when nothing goes wrong.

    The shortest of three runs: a busy machine has more steps, as claims are renewed meanwhile.
    """
    counted = []
    for _ in range(3):
        _, status, steps = play_crash(stage, scenario, "count")
        assert status in {200, 204}
        counted.append(steps)
    return min(counted, key=len)


def play_crash(stage, scenario, where):
    """The panel dies in the middle of one call: its backup, and the status and steps if it lives."""
    backup = scenario.prepare(stage)
    node = stage.node()
    status = node.attempt(scenario.act(stage, backup, {"X-Crash-At": where}))
    return backup, status, [] if status is None else node.last.headers["X-Steps"].split()


def number_in(where):
    """Which step it is."""
    return int(where.partition(":")[0])


def finish(stage, tally, played, sweep, *, may_stay_claimed):
    """Nodes try again or are gone; the command runs once; everything is judged."""
    nodes = [
        (name, scenario, backup, stage.node(CLAIMED_PERSEVERANCE if may_stay_claimed else None))
        for name, scenario, backup, fate in played
        if fate == NODE[0]
    ]
    with ThreadPoolExecutor(16) as pool:
        ends = pool.map(lambda one: one[1].try_again(stage, one[2], one[3]), nodes)
        for (name, _, _, node), end in zip(nodes, ends, strict=True):
            # A panel that died in the middle of settling has claimed the backup for longer than
            # a node tries: 503 until then, and the command settles it.
            unheard = end is None and not may_stay_claimed
            if unheard or not set(node.answers) <= {200, 204, 400, 404, 409, 503}:
                tally.note(name, f"the node heard {node.answers}")
    sweep(stage.disk)
    for name, scenario, backup, fate in played:
        allowed = scenario.retried if fate == NODE[0] else scenario.gone
        tally.judge(stage, name, backup, allowed)
        if fate == NODE[0] and not scenario.is_done(backup):
            tally.note(name, "what the node was told is not so")
    stray = stage.world.uploads(f"{stage.world.locations[stage.disk]}/")
    if stray:
        tally.note("all", f"uploads are left: {stray}")


def crash_cases(stage, names, when=("before", "after"), nodes=NODE, group=""):
    for name in names:
        steps = steps_of(stage, BY_NAME[name])
        for (number, step), moment, fate in itertools.product(
            enumerate(steps, start=1), when, nodes
        ):
            title = f"{name}: killed {moment} {number} ({step}), node {fate}"
            yield title, BY_NAME[name], f"{number}:{moment}{group}", fate


def run_crashes(stage, tally, sweep, cases):
    played = []
    for title, scenario, where, fate in cases:
        backup, status, steps = play_crash(stage, scenario, where)
        if status is not None:
            if len(steps) < number_in(where):
                continue  # the counted runs all renewed a claim, and this one did not
            tally.note(title, f"no process died, the answer was {status}")
        if where.endswith(":all"):
            stage.panel.restart()
        played.append((title, scenario, backup, fate))
    finish(stage, tally, played, sweep, may_stay_claimed=True)


def run_losses(stage, tally, sweep, cases):
    """The panel loses its database connections in the middle of one call, and lives."""
    played = []
    for title, scenario, where, fate in cases:
        backup, status, steps = play_crash(stage, scenario, where)
        if status is not None and len(steps) < number_in(where):
            continue  # as above
        # Lost during a transaction of several statements it is a fault of the database. During a
        # store call it is replaced, and the call succeeds.
        is_in_store = steps[number_in(where) - 1].startswith("store.") if steps else False
        allowed = {200, 204} if is_in_store else {200, 204, 503}
        if status not in allowed:
            tally.note(title, f"the node heard {status}")
        played.append((title, scenario, backup, fate))
    finish(stage, tally, played, sweep, may_stay_claimed=True)


def fault_cases(stage, names, faults=tuple(FAULTS), nodes=NODE):
    for name in names:
        calls = list(store_steps(steps_of(stage, BY_NAME[name])))
        for (operation, nth), fault, fate in itertools.product(calls, faults, nodes):
            if possible(fault, operation):
                title = f"{name}: {operation} {nth}: {fault}, node {fate}"
                yield title, BY_NAME[name], (operation, nth, fault), fate


def run_faults(stage, tally, sweep, cases):
    prepared = [(title, s, what, fate, s.prepare(stage)) for title, s, what, fate in cases]

    def act(one):
        _, scenario, (operation, nth, fault), _, backup = one
        injected = FAULTS[fault].on(
            operation, str(backup.uuid), nth=nth, times=ATTEMPTS.get(operation, 2)
        )
        node = stage.node()
        with stage.world.proxy.going_wrong(injected):
            node.attempt(scenario.act(stage, backup, {}))
        return node.answers[0], injected.hits

    with ThreadPoolExecutor(6) as pool:
        for (title, *_), (status, hits) in zip(prepared, pool.map(act, prepared), strict=True):
            if not hits:
                tally.note(title, "the fault was never met")
            if status not in {200, 204, 400, 409, 503}:
                tally.note(title, f"the node heard {status}")
    played = [(title, s, backup, fate) for title, s, _, fate, backup in prepared]
    finish(stage, tally, played, sweep, may_stay_claimed=False)


# A panel that dies or meets a sick store


def test_crash_during_report_loses_nothing(stage, sweep):
    tally = Tally("a few crashes")
    cases = crash_cases(stage, ["success report"], nodes=["gone"])
    run_crashes(stage, tally, sweep, cases)
    tally.close()


@pytest.mark.torture
def test_panel_restart_loses_nothing(stage, sweep):
    tally = Tally("a few dead panels")
    cases = list(
        crash_cases(stage, ["success report"], when=["after"], nodes=["gone"], group=":all")
    )
    run_crashes(stage, tally, sweep, cases[1:3])
    tally.close()


def test_store_faults_lose_nothing(stage, sweep):
    tally = Tally("a few faults")
    faults = ["answer dropped", "200 and empty late", "document cut"]
    run_faults(stage, tally, sweep, fault_cases(stage, ["success report"], faults))
    tally.close()


@pytest.mark.sampled
@pytest.mark.timeout(600)
def test_sampled_crashes_lose_nothing(stage, sweep):
    tally = Tally(f"crashes, sampled by seed {SEED}")
    run_crashes(stage, tally, sweep, sample(crash_cases(stage, sampled_scenarios("crashes"))))
    tally.close()


@pytest.mark.sampled
@pytest.mark.timeout(600)
def test_sampled_store_faults_lose_nothing(stage, sweep):
    tally = Tally(f"faults, sampled by seed {SEED}")
    run_faults(
        stage, tally, sweep, sample(fault_cases(stage, sampled_scenarios("faults", CALLING_STORE)))
    )
    tally.close()


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BY_NAME)
def test_crash_at_any_step_loses_nothing(stage, sweep, name):
    tally = Tally(f"crashes in {name}")
    run_crashes(stage, tally, sweep, crash_cases(stage, [name]))
    tally.close()


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CALLING_STORE)
def test_store_fault_at_any_call_loses_nothing(stage, sweep, name):
    tally = Tally(f"faults in {name}")
    run_faults(stage, tally, sweep, fault_cases(stage, [name]))
    tally.close()


#: SQLite has no server that could hang up.
with_server = pytest.mark.skipif("connection.vendor == 'sqlite'")


@with_server
@pytest.mark.sampled
@pytest.mark.timeout(600)
def test_sampled_lost_connections_lose_nothing(stage, sweep):
    tally = Tally(f"lost connections, sampled by seed {SEED}")
    cases = crash_cases(stage, sampled_scenarios("losses"), group=":lost")
    run_losses(stage, tally, sweep, sample(cases))
    tally.close()


@with_server
@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BY_NAME)
def test_lost_connection_at_any_step_loses_nothing(stage, sweep, name):
    tally = Tally(f"lost connections in {name}")
    run_losses(stage, tally, sweep, crash_cases(stage, [name], group=":lost"))
    tally.close()


@pytest.mark.parametrize("word", ["success", "failure"])
def test_crash_during_wings_report_loses_nothing(stage, sweep, word):
    """The node's word is all there is: what is committed stays, what is not is said again."""
    tally = Tally(f"crashes in a {word} on the node's own disk")
    stage = replace(stage, disk="wings")
    body = success(stage.archive, None) if word == "success" else FAILURE

    def say(backup, where=None):
        headers = {"X-Crash-At": where} if where else {}
        return lambda d: d.call("POST", f"{backup.uuid}", json=body, headers=headers)

    def again(backup):
        node = stage.node(CLAIMED_PERSEVERANCE)
        # 400: the table's answer to a success that is recorded already.
        if node.persist(say(backup)) not in {204, 400}:
            tally.note(str(backup.uuid), f"the node heard {node.answers}")

    counting = stage.node()
    assert counting.attempt(say(stage.world.pending(stage.server, stage.disk), "count")) == 204
    steps = counting.last.headers["X-Steps"].split()
    assert steps
    played = []
    for (number, step), when, fate in itertools.product(
        enumerate(steps, start=1), ("before", "after"), (*NODE, "is late")
    ):
        backup = stage.world.pending(stage.server, stage.disk)
        title = f"killed {when} {number} ({step}), node {fate}"
        if stage.node().attempt(say(backup, f"{number}:{when}")) is not None:
            tally.note(title, "no process died")
        if fate == "retries":
            again(backup)
        is_committed = (when, step) == ("after", "db.COMMIT")
        unheard = fate == "gone" and not is_committed
        played.append((title, backup, fate, FAILED if word == "failure" or unheard else WHOLE))
    sweep(stage.disk)
    for title, backup, fate, end in played:
        if fate == "is late":
            again(backup)
        tally.judge(stage, title, backup, end)
    tally.close()


def test_crash_during_a_deletion_report_loses_nothing(stage, sweep):
    """The archive lay on the node's own disk; the row must follow it."""
    tally = Tally("crashes in the report of a deletion")
    stage = replace(stage, disk="wings")

    def deleting():
        backup = stage.world.pending(stage.server, stage.disk)
        report = Report(successful=True, checksum=f"sha1:{40 * 'a'}", size=5)
        assert backup.complete_on_node(report)
        assert backup.begin_deletion()
        return backup

    def say(backup, where):
        headers = {"X-Crash-At": where} if where else {}
        body = {"successful": True}
        return lambda d: d.call("POST", f"{backup.uuid}/deletion", json=body, headers=headers)

    counting = stage.node()
    assert counting.attempt(say(deleting(), "count")) == 204
    steps = counting.last.headers["X-Steps"].split()
    assert steps
    played = []
    for (number, step), when, fate in itertools.product(
        enumerate(steps, start=1), ("before", "after"), NODE
    ):
        backup = deleting()
        title = f"killed {when} {number} ({step}), node {fate}"
        if stage.node().attempt(say(backup, f"{number}:{when}")) is not None:
            tally.note(title, "no process died")
        node = stage.node()
        # 404: the answer to a report about a row that is gone.
        if fate == NODE[0] and node.persist(say(backup, "")) not in {204, 404}:
            tally.note(title, f"the node heard {node.answers}")
        if fate == NODE[0] and Backup.objects.filter(pk=backup.pk).exists():
            tally.note(title, "what the node was told is not so")
        played.append((title, backup))
    sweep(stage.disk)
    for title, backup in played:
        tally.judge(stage, title, backup, {"deleted"})
    tally.close()


# The command itself dies or meets a sick store


class Population:
    """A backup of each kind that the command finds, on one disk, and what must become of it."""

    def __init__(self, stage):
        world, where = stage.world, (stage.server, stage.disk, stage.archive)
        self.stage = stage
        self.reported = world.reported(*where)
        self.silent = world.uploading(*where)
        self.finished = world.uploading(*where)
        world.complete_in_store(self.finished)
        self.half = world.uploading(*where, size=len(stage.archive) + 1)
        self.ends = [
            (self.reported, WHOLE),
            (self.silent, WHOLE),
            (self.finished, WHOLE),
            (self.half, FAILED),
            (world.pending(stage.server, stage.disk), FAILED),
            (world.failed_with_open_upload(*where), FAILED),
            (world.deleting(*where), frozenset({"deleted"})),
        ]
        self.backups = [backup for backup, _ in self.ends]
        world.begin(world.key_of(self.reported))

    def nodes_report(self):
        """The nodes are there after all, and say what they uploaded."""
        for backup in (self.reported, self.silent, self.finished, self.half):
            # Once: what is claimed answers 503 until the command has settled it.
            node = self.stage.node()
            report = success(self.stage.archive, parts_of(backup))
            node.attempt(lambda d, b=backup, r=report: d.call("POST", f"{b.uuid}", json=r))
            yield backup, node

    def clear(self):
        """Out of the way of the next case, which has this disk too."""
        remove(Backup.objects.filter(pk__in=[backup.pk for backup in self.backups]))


_REFUSED = "delete 403 first"


def sweep_with(commander, disk, crash_at=""):
    return commander.run(
        "expire_stale_uploads",
        *("--older-than", "0s", "--disk", disk, "--workers", "1"),
        crash_at=crash_at,
    )


def play_command(stage, commander, tally, case):
    """``faults``: (which of the population or None, operation, occurrence, kind), all in one run."""
    title, crash_at, faults, fate = case
    population = Population(stage)
    if faults:
        injected = [
            FAULTS[kind].on(
                operation,
                f"{stage.world.locations[stage.disk]}/"
                + (
                    "" if which is None else f"{stage.server.uuid}/{population.backups[which].uuid}"
                ),
                nth=nth,
                times=ATTEMPTS.get(operation, 2),
            )
            for which, operation, nth, kind in faults
        ]
        with stage.world.proxy.going_wrong(*injected):
            outcome = sweep_with(commander, stage.disk)
        for fault, what in zip(injected, faults, strict=True):
            if not fault.hits:
                tally.note(title, f"the fault was never met: {what}")
        if "Traceback" in outcome.out or outcome.code not in {0, 1}:
            tally.note(title, outcome.out)
    else:
        outcome = sweep_with(commander, stage.disk, crash_at)
        # A busy machine has more steps: claims are renewed meanwhile. This run may end before.
        number = number_in(crash_at)
        is_too_short = outcome.code == 0 and len(outcome.steps) < number
        if crash_at.endswith(":lost"):
            # A statement that met it may have been one row's fault; a store call's end is none's.
            if outcome.code not in ({0} if "(store." in title else {0, 1}):
                tally.note(title, f"{outcome.code} {outcome.out}")
        elif outcome.code != -9 and not is_too_short:
            tally.note(title, f"no process died: {outcome.code} {outcome.out}")
    if fate == NODE[0]:
        for backup, node in population.nodes_report():
            if not set(node.answers) <= {204, 400, 409, 503}:
                tally.note(title, f"the node of {backup.uuid} heard {node.answers}")
    last = sweep_with(commander, stage.disk)
    if last.code != 0:
        tally.note(title, last.out)
    # What the store refuses to delete stays whole.
    refused = {
        which for which, operation, _, kind in faults or () if f"{operation} {kind}" == _REFUSED
    }
    for which, (backup, allowed) in enumerate(population.ends):
        tally.judge(stage, title, backup, WHOLE if which in refused else allowed)
    stray = stage.world.uploads(f"{stage.world.locations[stage.disk]}/")
    if stray:
        tally.note(title, f"uploads are left: {stray}")
    population.clear()


def command_steps(stage, commander):
    # A sweep counts the backups for the admin, and those of the next minutes do not: their steps
    # are the ones that can be hit.
    assert sweep_with(commander, stage.disk).code == 0
    population = Population(stage)
    counted = sweep_with(commander, stage.disk, "count")
    assert counted.code == 0, counted.out
    population.clear()
    return counted.steps


def command_calls(stage, commander):
    """(which of the population or None, operation, occurrence) of the command's store calls.

    What every one of three runs does: a call that the store was too busy to answer is repeated, and
    such a repeat is not there to be hit in the next run.
    """
    counts = [_count_calls(stage, commander) for _ in range(3)]
    for (which, operation), often in functools.reduce(operator.and_, counts).items():
        for nth in range(1, often + 1):
            yield which, operation, nth


def _count_calls(stage, commander):
    population = Population(stage)
    location = f"{stage.world.locations[stage.disk]}/"
    before = len(stage.world.proxy.calls(location))
    assert sweep_with(commander, stage.disk).code == 0
    seen: Counter = Counter()
    for call in stage.world.proxy.calls(location)[before:]:
        about = [n for n, b in enumerate(population.backups) if str(b.uuid) in call.key]
        seen[about[0] if about else None, call.operation] += 1
    population.clear()
    return seen


def rounds_of_faults(calls):
    """Every fault at every call: in each round one for each backup, and one for the list."""
    queues = {}
    for which, operation, nth in calls:
        queues.setdefault(which, []).extend(
            (which, operation, nth, fault) for fault in FAULTS if possible(fault, operation)
        )
    for met in itertools.zip_longest(*queues.values()):
        yield [fault for fault in met if fault is not None]


@pytest.fixture
def tiny_stage(world, panel, server, node, disk, tiny):
    return Stage(world, panel, server, disk, tiny, node.bearer_token)


def run_commands(stage, commander, tally, cases):
    """Play the cases, ``LANES`` at a time, each lane on a disk and with commands of its own."""
    cases = list(cases)
    waiting = iter(cases)
    taking = threading.Lock()

    def take():
        with taking:
            return next(waiting, None)

    def play_one_after_another(lane):
        own, commands = lane
        try:
            while (case := take()) is not None:
                play_command(own, commands, tally, case)
        finally:
            connection.close()

    lanes = [
        (replace(stage, disk=stage.world.new_disk()), commander())
        for _ in range(min(LANES, len(cases)))
    ]
    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(play_one_after_another, lanes))


def test_crashed_command_can_be_run_again(tiny_stage, commander):
    tally = Tally("a few crashes of the command")
    steps = command_steps(tiny_stage, commander())
    completions = [n for n, step in enumerate(steps, start=1) if step == "store.complete_upload"]
    assert len(completions) == 2
    cases = [(f"killed after step {n}", f"{n}:after", None, "gone") for n in completions]
    run_commands(tiny_stage, commander, tally, cases)
    tally.close()


@pytest.mark.sampled
@pytest.mark.timeout(600)
def test_sampled_crashes_and_faults_of_the_command_lose_nothing(tiny_stage, commander):
    tally = Tally(f"crashes and faults of the command, sampled by seed {SEED}")
    crashes = [case for fate in NODE for case in command_crashes(tiny_stage, commander, fate)]
    run_commands(tiny_stage, commander, tally, sample(crashes, SAMPLE // 2))
    faults = [case for fate in NODE for case in command_faults(tiny_stage, commander, fate)]
    run_commands(tiny_stage, commander, tally, sample(faults, SAMPLE // 8))
    tally.close()


def command_crashes(stage, commander, fate):
    # Half of the product, for time's sake: after one step is as good as before the next, as nothing
    # that stays happens in between.
    when = "before" if fate == NODE[0] else "after"
    for number, step in enumerate(command_steps(stage, commander()), start=1):
        yield f"killed {when} {number} ({step}), node {fate}", f"{number}:{when}", None, fate


def command_losses(stage, commander):
    for title, crash_at, faults, fate in command_crashes(stage, commander, NODE[1]):
        yield title.replace("killed", "hung up on"), f"{crash_at}:lost", faults, fate


def command_faults(stage, commander, fate):
    calls = list(command_calls(stage, commander()))
    # "get" asks again what a HEAD has answered with a 404.
    expected = {"get", *OPERATIONS.values()} - {"create"}
    assert {operation for _, operation, _ in calls} == expected
    for number, faults in enumerate(rounds_of_faults(calls), start=1):
        yield f"round {number}: {faults}, node {fate}", "", faults, fate


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fate", NODE)
def test_command_crash_at_any_step_loses_nothing(tiny_stage, commander, fate):
    tally = Tally(f"crashes of the command, node {fate}")
    run_commands(tiny_stage, commander, tally, command_crashes(tiny_stage, commander, fate))
    tally.close()


@with_server
@pytest.mark.torture
@pytest.mark.timeout(600)
def test_lost_connection_at_any_step_of_the_command_loses_nothing(tiny_stage, commander):
    tally = Tally("lost connections of the command")
    run_commands(tiny_stage, commander, tally, command_losses(tiny_stage, commander))
    tally.close()


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fate", NODE)
def test_store_fault_at_any_call_of_the_command_loses_nothing(tiny_stage, commander, fate):
    tally = Tally(f"faults of the command's store calls, node {fate}")
    run_commands(tiny_stage, commander, tally, command_faults(tiny_stage, commander, fate))
    tally.close()
