"""The table of ``make stores`` shows as passed only what ran to its end."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.storage.stores import __main__ as table
from tests.storage.stores.kinds import Kind

pytestmark = pytest.mark.once

CONTRACT = sorted(table.expected(is_quick=False))


def case(name, *, classname="tests.storage.stores.test_contract.TestStore", inner=""):
    return f'<testcase classname="{classname}" name="{name}">{inner}</testcase>'


def report_of(*cases):
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


WHOLE = [case(f"test_{scenario.replace(' ', '_')}") for scenario in CONTRACT]


@pytest.fixture
def outcome_of(monkeypatch):
    """What the table makes of a pytest that wrote this report and ended with this exit code."""

    def run(report, exit_code):
        def pytest_run(command, **_):
            (path,) = [word.partition("=")[2] for word in command if "--junitxml" in word]
            if report is not None:
                Path(path).write_text(report, encoding="utf-8")
            return SimpleNamespace(returncode=exit_code)

        monkeypatch.setattr(subprocess, "run", pytest_run)
        return table.run("any", Kind("Any", None, lambda: "1"))

    monkeypatch.delenv("QUICK", raising=False)
    return run


def test_a_whole_run_has_no_failures(outcome_of):
    outcome = outcome_of(report_of(*WHOLE), 0)
    assert outcome.failed == []
    assert outcome.counts["test_contract"]["passed"] == len(CONTRACT)


@pytest.mark.parametrize("exit_code", [1, 2, 3, 4, 5, -9])
def test_a_run_that_broke_off_has_failed(outcome_of, exit_code):
    outcome = outcome_of(report_of(*WHOLE), exit_code)
    assert outcome.failed == [f"pytest ended with exit code {exit_code}"]


def test_a_run_without_a_report_has_failed(outcome_of):
    assert f"{CONTRACT[0]}: not in the report" in outcome_of(None, 0).failed


def test_a_scenario_that_did_not_run_has_failed(outcome_of):
    missing = CONTRACT[0]
    cases = [each for each in WHOLE if f'"test_{missing.replace(" ", "_")}"' not in each]
    assert outcome_of(report_of(*cases), 0).failed == [f"{missing}: not in the report"]


def test_a_file_that_cannot_be_imported_has_failed(outcome_of):
    broken = case(
        "tests.storage.stores.test_flow", classname="", inner='<error message="no module"/>'
    )
    outcome = outcome_of(report_of(*WHOLE, broken), 2)
    assert outcome.failed == ["tests.storage.stores.test flow", "pytest ended with exit code 2"]


def test_a_failure_is_printed_once(outcome_of):
    cases = [*WHOLE, case("test_other", inner='<failure message="no"/>')]
    assert outcome_of(report_of(*cases), 1).failed == ["other"]


def test_a_quick_run_needs_no_long_lists():
    left_out = set(CONTRACT) - table.expected(is_quick=True)
    assert left_out == {
        "more than a thousand parts are listed",
        "more than a thousand uploads are listed",
    }
