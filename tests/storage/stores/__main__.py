"""``make stores``: the contract, the flow and the faults on every store that can run here.

``ONLY=rclone,swift`` picks some, ``QUICK=1`` leaves out the lists of more than a thousand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from backups_remote.testing.contract import StoreContract, scenarios
from tests.storage.stores.kinds import KINDS
from tests.storage.stores.processes import NotInstalled

HERE = Path(__file__).parent
FILES = ("test_contract", "test_flow", "test_faults")


@dataclass
class Outcome:
    """What one store's run came to."""

    kind: object
    version: str = ""
    #: File → how its scenarios ended.
    counts: dict[str, Counter] = field(default_factory=dict)
    #: (scenario, the answer and what follows from it).
    limits: list[tuple[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    #: The scenarios of the contract that the report names.
    contract: set[str] = field(default_factory=set)
    seconds: float = 0
    not_run: str = ""


def main():
    only = [name for name in os.environ.get("ONLY", "").replace(",", " ").split() if name]
    unknown = set(only) - set(KINDS)
    if unknown:
        sys.exit(f"No such store: {', '.join(sorted(unknown))}. There are {', '.join(KINDS)}.")
    outcomes = []
    for number, name in enumerate(only or KINDS, start=1):
        kind = KINDS[name]
        print(f"\n== {kind.title} ({number} of {len(only or KINDS)})", flush=True)
        outcomes.append(run(name, kind))
    print_table(outcomes)
    missing = [outcome for outcome in outcomes if outcome.not_run]
    sys.exit(any(outcome.failed for outcome in outcomes) or bool(only and missing))


def run(name, kind):
    began = time.monotonic()
    outcome = Outcome(kind)
    try:
        install(kind)
        outcome.version = kind.version()
    except (NotInstalled, subprocess.CalledProcessError) as error:
        outcome.not_run = str(error)
        return outcome
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}"]
        command += [str(HERE / f"{file}.py") for file in FILES]
        command += ["-k", "not TestMemory", "-p", "no:cacheprovider", "-o", "addopts="]
        command += ["-m", "not slow"] if os.environ.get("QUICK") else []
        done = subprocess.run(command, env={**os.environ, "STORE": name}, check=False)
        if report.exists():
            read(report, outcome)
        judge(outcome, done.returncode, expected(is_quick=bool(os.environ.get("QUICK"))))
    outcome.seconds = time.monotonic() - began
    return outcome


def install(kind):
    """What Debian's and PyPI's packages there are missing for this store."""
    missing = [package for package in kind.packages if not is_installed(package)]
    if missing:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise NotInstalled(f"install {', '.join(missing)}, as root")
        print(f"installing {', '.join(missing)} ...", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
        ):
            subprocess.run(
                command,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
            )


def is_installed(package):
    if shutil.which("dpkg-query") is None:
        return False
    asked = ["dpkg-query", "-W", "-f", "${Status}", package]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    return said.stdout.endswith(" installed")


def expected(*, is_quick):
    """The scenarios of the contract that must be in a report, as the table words them."""
    tests = {name: getattr(StoreContract, f"test_{name}") for name in scenarios()}
    return {
        worded(name)
        for name, test in tests.items()
        if not (is_quick and any(m.name == "slow" for m in getattr(test, "pytestmark", ())))
    }


def judge(outcome, exit_code, wanted):
    """Count as failed what a report does not show: a run that broke off, scenarios left out."""
    if exit_code not in {0, 1} or (exit_code == 1 and not outcome.failed):
        outcome.failed.append(f"pytest ended with exit code {exit_code}")
    outcome.failed += [f"{scenario}: not in the report" for scenario in wanted - outcome.contract]


def worded(name):
    return name.removeprefix("test_").replace("_", " ")


def read(report, outcome):
    for case in ET.parse(report).iter("testcase"):
        scenario = worded(case.get("name"))
        place = case.get("classname").split(".")
        if len(place) < 4:  # a file that could not even be imported has no class name
            outcome.failed.append(scenario)
            continue
        file = place[3]
        if file == "test_contract":
            outcome.contract.add(scenario)
        ended = next(
            (child for child in case if child.tag in {"failure", "error", "skipped"}), None
        )
        if ended is None:
            how = "passed"
        elif ended.tag != "skipped":
            how = "failed"
            outcome.failed.append(scenario)
        elif ended.get("type") == "pytest.xfail":
            how = "limits"
            said = ended.get("message").replace("\n", " ")
            if (scenario, said) not in outcome.limits:
                outcome.limits.append((scenario, said))
        else:
            how = "skipped"
            outcome.limits.append((scenario, f"not run: {ended.get('message')}"))
        outcome.counts.setdefault(file, Counter())[how] += 1


def print_table(outcomes):
    print("\n| store | version | contract | flow | faults | cannot | failed | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for outcome in outcomes:
        title = outcome.kind.title
        if outcome.not_run:
            print(f"| {title} | | not run: {outcome.not_run} | | | | | |")
            continue
        passed = [str(outcome.counts.get(file, Counter())["passed"]) for file in FILES]
        row = [title, outcome.version, *passed, str(len(outcome.limits))]
        row += [str(len(outcome.failed)), f"{outcome.seconds:.0f}"]
        print(f"| {' | '.join(row)} |")
    for outcome in outcomes:
        if outcome.limits:
            print(f"\n{outcome.kind.title} {outcome.version} cannot:")
        for scenario, said in outcome.limits:
            print(f"- {scenario}: {said}")
        for scenario in outcome.failed:
            print(f"{outcome.kind.title} {outcome.version} FAILED: {scenario}")


if __name__ == "__main__":
    main()
