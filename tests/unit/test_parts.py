"""Cutting archives: the arithmetic that daemon and stores rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups_remote.conf import LARGEST_PART_SIZE, MIN_PART_SIZE
from backups_remote.storage import bare_etag, plan_parts

pytestmark = pytest.mark.once

MIB = 1024**2
GIB = 1024**3


@given(
    size=st.integers(1, 10_000 * LARGEST_PART_SIZE),
    max_part_size=st.integers(1, 6 * GIB),
    max_parts=st.integers(1, 10_000),
)
def test_plan_covers_the_archive_within_every_limit(size, max_part_size, max_parts):
    if size > max_parts * LARGEST_PART_SIZE:
        with pytest.raises(ValueError, match="5 GiB"):
            plan_parts(size, max_part_size=max_part_size, max_parts=max_parts)
        return
    plan = plan_parts(size, max_part_size=max_part_size, max_parts=max_parts)
    assert plan.count == -(-size // plan.part_size)
    assert 1 <= plan.count <= max_parts
    assert MIN_PART_SIZE <= plan.part_size <= LARGEST_PART_SIZE
    last = size - (plan.count - 1) * plan.part_size
    assert 0 < last <= plan.part_size


def test_configured_part_size_is_used_within_the_part_limit():
    assert plan_parts(10_000 * 128 * MIB, max_part_size=128 * MIB, max_parts=10_000).count == 10_000
    assert plan_parts(1, max_part_size=128 * MIB, max_parts=10_000).part_size == 128 * MIB


def test_part_size_grows_by_one_step_above_the_limit():
    plan = plan_parts(10_000 * 128 * MIB + 1, max_part_size=128 * MIB, max_parts=10_000)
    assert plan.part_size == 129 * MIB


@pytest.mark.parametrize("size", [0, -1])
def test_empty_archive_is_refused(size):
    with pytest.raises(ValueError, match="positive"):
        plan_parts(size, max_part_size=MIB, max_parts=1)


@pytest.mark.parametrize("etag", ['"abc"', "abc", 'W/"abc"', ' "abc" '])
def test_an_etag_is_the_same_with_and_without_its_quotes(etag):
    assert bare_etag(etag) == "abc"
