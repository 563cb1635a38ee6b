"""The catalogue of safeguards matches the code, and for each one a test fails without it."""

import ast
import functools

import pytest

from tests.reliability.safeguards import SAFEGUARDS, marked_files, table, try_all
from tests.reliability.without import ROOT


@pytest.mark.once
def test_every_marker_is_in_the_catalogue():
    assert set(marked_files()) == {safeguard.marker for safeguard in SAFEGUARDS}


@functools.cache
def source_of(file):
    return (ROOT / file).read_text(encoding="utf-8")


@functools.cache
def dump(code):
    return ast.dump(ast.parse(code))


@pytest.mark.once
@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda s: s.name)
def test_a_mutation_changes_the_code(safeguard):
    code = source_of(safeguard.file)
    assert ast.dump(ast.parse(safeguard.mutate(code))) != dump(code)


@pytest.mark.once
def test_every_test_of_the_catalogue_exists():
    assert len({safeguard.name for safeguard in SAFEGUARDS}) == len(SAFEGUARDS)
    for safeguard in SAFEGUARDS:
        module, _, test = safeguard.test.partition("::")
        code = (ROOT / module).read_text(encoding="utf-8")
        name = test.rpartition("::")[2].partition("[")[0]
        assert f"def {name}(" in code, safeguard.test


@pytest.mark.once
def test_the_document_shows_the_table():
    """``python -m tests.reliability.safeguards --table`` prints it."""
    assert table() in (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_every_mutation_is_caught():
    """Each is applied to a copy of the code, and its test run there: it must fail."""
    assert try_all() == []
