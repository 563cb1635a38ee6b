"""Pure arithmetic of parts: their sizes, and the ETag of the object that they make."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from backups_remote.conf import LARGEST_PART_SIZE, MIB, MIN_PART_SIZE, PARTS_PER_CALL
from backups_remote.types import PartPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A part that must exceed the configured size grows in steps of this many bytes.
_STEP: Final = MIB


def plan_parts(size: int, *, max_part_size: int, max_parts: int) -> PartPlan:
    """Cut ``size`` bytes into parts of ``max_part_size``, or larger ones if ``max_parts`` asks.

    Every part but the last has the same size, which Cloudflare R2 requires. The daemon relies on
    exactly ``ceil(size / part_size)`` parts.

    Raises:
        ValueError: ``size`` is not positive, or more than ``max_parts`` parts of 5 GiB.

    """
    if size <= 0:
        msg = "size must be positive"
        raise ValueError(msg)
    part_size = allowed_part_size(max_part_size)
    if ceil_div(size, part_size) > max_parts:
        part_size = ceil_div(ceil_div(size, max_parts), _STEP) * _STEP
    if part_size > LARGEST_PART_SIZE:
        msg = f"size needs more than {max_parts} parts of 5 GiB"
        raise ValueError(msg)
    return PartPlan(size=size, part_size=part_size, count=ceil_div(size, part_size))


def plan_next_parts(first: int, *, part_size: int, max_parts: int) -> PartPlan:
    """The parts from number ``first`` on that get their URLs in one call.

    For an archive whose size is not known yet: its parts cannot grow, so it has at most
    ``max_parts`` times ``part_size`` bytes.

    Raises:
        ValueError: an upload has no part of this number.

    """
    if not 1 <= first <= max_parts:
        msg = f"first must be from 1 to {max_parts}"
        raise ValueError(msg)
    count = min(PARTS_PER_CALL, max_parts - first + 1)
    return PartPlan(size=None, part_size=part_size, count=count, first=first)


def allowed_part_size(size: int) -> int:
    """``size``, or the nearest size of a part that every store accepts."""
    return min(max(size, MIN_PART_SIZE), LARGEST_PART_SIZE)


def ceil_div(dividend: int, divisor: int) -> int:
    """Divide integers, rounding up."""
    return -(-dividend // divisor)


def bare_etag(etag: str) -> str:
    """An ETag without its quotes, and without the ``W/`` that a proxy may have added."""
    return etag.strip().removeprefix("W/").strip('"')


def multipart_etag(part_etags: Iterable[str]) -> str | None:
    """S3's ETag of an object made of these parts: the MD5 of their MD5s, and their number.

    None where a part's ETag is no MD5, or there are no parts.
    """
    etags = [bare_etag(etag) for etag in part_etags]
    try:
        digests = b"".join(bytes.fromhex(etag) for etag in etags)
    except ValueError:
        return None
    if not etags:
        return None
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"
