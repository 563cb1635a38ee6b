"""The table of safeguards keeps up with the code."""

import ast

import pytest

from tests.reliability.safeguards import ROOT, SAFEGUARDS, path_of, table


@pytest.mark.once
@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda s: s.name)
def test_a_safeguard_stands_where_the_table_says(safeguard):
    code = (ROOT / safeguard.file).read_text(encoding="utf-8")
    assert code.count(safeguard.old) == 1
    without = code.replace(safeguard.old, safeguard.new)
    assert without != code
    ast.parse(without)


@pytest.mark.once
def test_the_tables_tests_are_there():
    assert len({safeguard.name for safeguard in SAFEGUARDS}) == len(SAFEGUARDS)
    for safeguard in SAFEGUARDS:
        module, _, test = path_of(safeguard.test).partition("::")
        code = (ROOT / module).read_text(encoding="utf-8")
        assert f"def {test.partition('[')[0]}(" in code, safeguard.test


@pytest.mark.once
def test_the_document_shows_the_table():
    """``python -m tests.reliability.safeguards --table`` prints it."""
    assert table() in (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
