"""``make full`` counts what pytest says, and chooses its parts."""

import pytest

from tests import full
from tests.full import PARTS, Part, chosen, counted, groups

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("3617 passed, 1 skipped in 269.83s (0:04:29)", {"passed": 3617, "skipped": 1}),
        ("===== 2 failed, 7 passed, 3 deselected in 1.20s =====", {"failed": 2, "passed": 7, "deselected": 3}),
        ("1 error in 0.53s", {"error": 1}),
        ("1 passed, 2 errors in 0.53s", {"passed": 1, "error": 2}),
        ("40 cases tried, 0 lost", None),
        ("tests/unit/test_full.py ..", None),
    ],
)  # fmt: skip
def test_last_line_of_pytest_is_counted(line, expected):
    assert counted(line) == expected


def test_parts_are_chosen_by_name():
    assert chosen([]) == PARTS
    assert [part.name for part in chosen(["stores", "sqlite"])] == ["sqlite", "stores"]
    with pytest.raises(SystemExit, match=r"No such part: shop\. There are sqlite, "):
        chosen(["shop"])


def test_parts_of_one_process_run_together_and_others_alone():
    some = chosen(["sqlite", "replica", "torture-sqlite", "stores", "themes"])
    assert [[part.name for part in group] for group in groups(some)] == [
        ["sqlite"],
        ["replica"],
        ["torture-sqlite", "stores"],
        ["themes"],
    ]


def test_parts_do_not_inherit_the_options_of_this_run(tmp_path, monkeypatch):
    """``make full ONLY=stores`` tells every make that it begins, through MAKEFLAGS."""
    monkeypatch.setattr(full, "LOGS", tmp_path)
    monkeypatch.setenv("ONLY", "stores")
    monkeypatch.setenv("MAKEFLAGS", "-- ONLY=stores")
    (tmp_path / "Makefile").write_text('told:\n\t@echo "only: $(ONLY)"\n')
    full.run(Part("told", ("make", "-C", str(tmp_path), "told")), {})
    assert "only: \n" in (tmp_path / "told.log").read_text()
