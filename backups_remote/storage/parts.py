"""How an archive is cut into parts. Pure arithmetic."""

from __future__ import annotations

from typing import Final

from backups_remote.conf import LARGEST_PART_SIZE, MIB, MIN_PART_SIZE
from backups_remote.types import PartPlan

#: A part that has to grow beyond the configured size grows in steps of this many bytes.
_STEP: Final = MIB


def plan_parts(size: int, *, max_part_size: int, max_parts: int) -> PartPlan:
    """Cut ``size`` bytes into parts of ``max_part_size``, larger only to stay in ``max_parts``.

    Every part but the last has the same size (Cloudflare R2 asks for that), and the daemon relies
    on exactly ``ceil(size / part_size)`` of them.

    Raises:
        ValueError: ``size`` is not positive, or more than ``max_parts`` parts of 5 GiB.

    """
    if size <= 0:
        msg = "size must be positive"
        raise ValueError(msg)
    part_size = min(max(max_part_size, MIN_PART_SIZE), LARGEST_PART_SIZE)
    if ceil_div(size, part_size) > max_parts:
        part_size = ceil_div(ceil_div(size, max_parts), _STEP) * _STEP
    if part_size > LARGEST_PART_SIZE:
        msg = f"size needs more than {max_parts} parts of 5 GiB"
        raise ValueError(msg)
    return PartPlan(size=size, part_size=part_size, count=ceil_div(size, part_size))


def ceil_div(dividend: int, divisor: int) -> int:
    """Divide integers, rounding up."""
    return -(-dividend // divisor)


def bare_etag(etag: str) -> str:
    """An ETag without its quotes and without the W/ that a proxy may have put before them."""
    return etag.strip().removeprefix("W/").strip('"')
