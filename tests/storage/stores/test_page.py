"""What docs/stores.md says is what is run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backups_remote.testing import DIALECTS
from tests.storage.stores import ceph
from tests.storage.stores.kinds import KINDS

PAGE = (Path(__file__).parents[3] / "docs/stores.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.once


def test_documented_policy_is_the_tested_one():
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    on_objects, on_bucket = json.loads(block)["Statement"]
    assert tuple(on_objects["Action"]) == ceph.ON_OBJECTS
    assert tuple(on_bucket["Action"]) == ceph.ON_BUCKET


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_limit_is_documented_with_its_answer(kind):
    told = PAGE.partition(f"**{kind.title}**")[2].partition("\n\n")[0]
    for scenario, limit in kind.limits.items():
        assert f"{scenario.replace('_', ' ')}: {limit.answer}" in told


def test_every_dialect_is_run_or_documented_as_imitated():
    run = {"aws", *KINDS}
    imitated = PAGE.partition("## Imitated")[2].partition("\n## ")[0].lower()
    assert all(dialect in imitated for dialect in DIALECTS.keys() - run)
