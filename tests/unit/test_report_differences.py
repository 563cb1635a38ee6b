"""Every way in which a report can differ from what was announced and from what the store shows."""

import hashlib

import pytest
from django.utils import timezone

from backups_remote.lifecycle.compare import compare_with_object, compare_with_parts
from backups_remote.models import Backup
from backups_remote.testing import MemoryBackend
from backups_remote.types import Report, ReportedPart, StoredObject, StoredPart
from tests.support.memory import BareBackend

BACKUP = Backup(upload_size=25, part_size=10)
ETAGS = [hashlib.md5(bytes([number])).hexdigest() for number in range(3)]
STORED = [
    StoredPart(n, etag, size, timezone.now())
    for n, (etag, size) in enumerate(zip(ETAGS, [10, 10, 5], strict=True), start=1)
]
OBJECT = StoredObject(25, MemoryBackend.etag_of(ETAGS), "mark", "application/x-gzip")


def report(*, size=25, etags=ETAGS, numbers=(1, 2, 3)):
    parts = tuple(ReportedPart(n, etag) for n, etag in zip(numbers, etags, strict=True))
    return Report(successful=True, checksum="sha1:abc", size=size, parts=parts)


def none_named(**changes):
    return report(etags=(), numbers=(), **changes)


@pytest.mark.parametrize(
    "said",
    [
        report(),
        none_named(),
        report(etags=["", "", ""]),
        report(etags=[f'W/"{etag}"' for etag in ETAGS]),
        report(etags=ETAGS[::-1], numbers=(3, 2, 1)),
    ],
)
def test_matching_report_has_no_difference(said):
    assert compare_with_parts(BACKUP, said, STORED) == ""
    assert compare_with_parts(BACKUP, said, list(enumerate(ETAGS, start=1))) == ""
    assert compare_with_object(BACKUP, said, OBJECT, MemoryBackend("memory")) == ""


@pytest.mark.parametrize(
    ("said", "stored", "difference"),
    [
        (none_named(), STORED[:2], "parts: 3 were announced, the store holds 2 (1, 2)."),
        (none_named(), STORED[1:], "parts: 3 were announced, the store holds 2 (2, 3)."),
        (none_named(size=24), STORED, "size: 24 is reported, 25 was announced."),
        (
            none_named(),
            [*STORED[:2], StoredPart(3, ETAGS[2], 4, timezone.now())],
            "size: 25 is reported, the store holds 24.",
        ),
        (
            report(etags=[*ETAGS, ""], numbers=(1, 2, 3, 4)),
            STORED,
            "parts: 4 are reported, the store holds 3.",
        ),
        (
            report(numbers=(1, 2, 4)),
            STORED,
            "parts: part 3 is in the store and not in the report.",
        ),
        (
            report(etags=[ETAGS[0], ETAGS[0], ""]),
            STORED,
            "parts: the etag of part 2 is not the store's.",
        ),
    ],
)
def test_the_first_difference_from_the_parts_is_named(said, stored, difference):
    assert compare_with_parts(BACKUP, said, stored) == difference


@pytest.mark.parametrize(
    ("said", "found", "difference"),
    [
        (none_named(size=24), OBJECT, "size: 24 is reported, 25 was announced."),
        (
            none_named(),
            StoredObject(24, OBJECT.etag, "mark", ""),
            "size: 25 is reported, the object has 24.",
        ),
        (
            report(etags=ETAGS[:2], numbers=(1, 2)),
            OBJECT,
            "parts: 2 (1, 2) are reported, 3 were announced.",
        ),
        (
            report(etags=["", "", ""], numbers=(1, 2, 4)),
            OBJECT,
            "parts: 3 (1, 2, 4) are reported, 3 were announced.",
        ),
        (
            report(etags=[ETAGS[0], ETAGS[0], ETAGS[0]]),
            OBJECT,
            "parts: the reported etags are not those of the object's parts.",
        ),
        (
            report(etags=["x", "y", "z"]),
            OBJECT,
            "parts: the reported etags are not those of the object's parts.",
        ),
    ],
)
def test_the_first_difference_from_the_object_is_named(said, found, difference):
    assert compare_with_object(BACKUP, said, found, MemoryBackend("memory")) == difference


@pytest.mark.parametrize(
    ("said", "etag", "backend"),
    [
        # How this store makes its ETags is not known.
        (report(etags=[ETAGS[0]] * 3), "of its own", MemoryBackend),
        (report(etags=[ETAGS[0]] * 3), OBJECT.etag, BareBackend),
        # A daemon that was told no ETag of one part has no list to compare.
        (report(etags=[ETAGS[0], "", ETAGS[0]]), OBJECT.etag, MemoryBackend),
    ],
)
def test_opaque_etags_are_not_compared_with_the_object(said, etag, backend):
    found = StoredObject(25, etag, "mark", "application/x-gzip")
    assert compare_with_object(BACKUP, said, found, backend("memory")) == ""
