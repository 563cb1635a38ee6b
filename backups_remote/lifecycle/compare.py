"""Compare a report with what was announced and with what the store shows. Pure functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backups_remote.lifecycle.rules.parts import planned_parts
from backups_remote.storage import bare_etag, ceil_div
from backups_remote.types import StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backups_remote.models import Backup
    from backups_remote.storage import StorageBackend
    from backups_remote.types import Report, StoredObject

#: How many part numbers an error names.
_SHOWN: Final = 10
#: The ETag of an object that is made of its parts' ETags: "<hash>-<count>".
_OF_PARTS: Final = re.compile(r"[0-9a-f]{32}-[0-9]{1,5}", re.ASCII)
_MD5: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def compare_with_parts(
    backup: Backup, report: Report, parts: Sequence[StoredPart] | Sequence[tuple[int, str]]
) -> str:
    """The first difference between a report and an upload's parts; empty if there is none.

    ``parts`` are those that the store lists, or number and ETag of those that it listed when the
    backup was recorded as reported.
    """
    return next(_differences_from_parts(backup, report, parts), "")


def compare_with_object(
    backup: Backup, report: Report, found: StoredObject, backend: StorageBackend
) -> str:
    """The first difference between a report and a finished object; empty if there is none.

    The object's ETag tells the number of parts, and proves their ETags, where the backend knows
    how the store makes it.
    """
    return next(_differences_from_object(backup, report, found, backend), "")


def _differences_from_parts(
    backup: Backup, report: Report, parts: Sequence[StoredPart] | Sequence[tuple[int, str]]
) -> Iterator[str]:
    stored: dict[int, str] = {}
    stored_size: int | None = None
    for part in parts:
        if isinstance(part, StoredPart):
            stored[part.number] = bare_etag(part.etag)
            stored_size = (stored_size or 0) + part.size
        else:
            stored[part[0]] = bare_etag(part[1])
    if backup.upload_size is None:
        streamed = [part for part in parts if isinstance(part, StoredPart)]
        yield from _differences_in_stream(backup, report, streamed)
    else:
        yield from _differences_from_announced(backup, report, list(stored))
    if stored_size is not None and report.size != stored_size:  # safeguard: parts-match-size
        yield f"size: {report.size} is reported, the store holds {stored_size}."
    if not report.parts:
        return
    if len(report.parts) != len(stored):  # safeguard: reported-part-count
        yield f"parts: {len(report.parts)} are reported, the store holds {len(stored)}."
    reported = {part.number: bare_etag(part.etag) for part in report.parts}
    for number, etag in stored.items():
        if number not in reported:  # safeguard: every-part-reported
            yield f"parts: part {number} is in the store and not in the report."
        elif reported[number] not in {"", etag}:  # safeguard: part-etags-match
            yield f"parts: the etag of part {number} is not the store's."


def _differences_from_announced(backup: Backup, report: Report, stored: list[int]) -> Iterator[str]:
    planned = [number for number, _ in planned_parts(backup)]
    if stored != planned:  # safeguard: announced-parts-complete
        yield f"parts: {len(planned)} were announced, the store holds {_named(stored)}."
    yield from _differences_in_size(backup, report)


def _differences_in_stream(
    backup: Backup, report: Report, parts: Sequence[StoredPart]
) -> Iterator[str]:
    """No size was announced: the report's own must be that of full parts and a last one.

    Counted, not listed: a node can report any size.
    """
    numbers = [part.number for part in parts]
    part_size = backup.part_size or 1
    count = ceil_div(report.size, part_size)
    # safeguard: streamed-parts-complete
    if len(numbers) != count or numbers != list(range(1, len(numbers) + 1)):
        yield f"parts: {count} make up the reported size, the store holds {_named(numbers)}."
    for part in parts:
        planned = min(part_size, report.size - (part.number - 1) * part_size)
        if part.size != planned:  # safeguard: streamed-parts-full
            yield f"parts: part {part.number} has {part.size} bytes instead of {planned}."
    if not report.parts:  # safeguard: streamed-parts-reported
        yield "parts: none are reported, and no size was announced."


def _differences_from_object(
    backup: Backup, report: Report, found: StoredObject, backend: StorageBackend
) -> Iterator[str]:
    yield from _differences_in_size(backup, report)  # safeguard: finished-size-matches
    if report.size != found.size:  # safeguard: object-size-matches
        yield f"size: {report.size} is reported, the object has {found.size}."
    if not report.parts:
        return
    reported = {part.number: bare_etag(part.etag) for part in report.parts}
    planned = [number for number, _ in planned_parts(backup)]
    if sorted(reported) != planned:  # safeguard: object-of-reported-parts
        yield f"parts: {_named(sorted(reported))} are reported, {len(planned)} were announced."
    etags = [reported[number] for number in sorted(reported)]
    if not _OF_PARTS.fullmatch(found.etag) or not all(etags):  # safeguard: opaque-etags-ignored
        return
    if not all(_MD5.fullmatch(etag) for etag in etags) or (  # safeguard: object-etag-from-parts
        backend.etag_of(etags) not in {None, found.etag}
    ):
        yield "parts: the reported etags are not those of the object's parts."


def _differences_in_size(backup: Backup, report: Report) -> Iterator[str]:
    if report.size != backup.upload_size:  # safeguard: reported-size-matches
        yield f"size: {report.size} is reported, {backup.upload_size} was announced."


def _named(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    return f"{len(numbers)} ({shown}{', …' if len(numbers) > _SHOWN else ''})"
