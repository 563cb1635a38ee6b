"""Which backups give way, and whose object lies under a key: the rules by themselves."""

import pytest
from django.utils import timezone

from backups_remote.lifecycle.rules.ownership import why_foreign
from backups_remote.lifecycle.rules.rotation import choose_rotated
from backups_remote.models import Backup
from backups_remote.types import StoredObject


def made(place, kind):
    """``v``: verified; ``r``: recovered; ``n``: without a checksum; ``w``: out of reach; capitals: locked."""
    return Backup(
        pk=place + 1,
        is_successful=True,
        completed_at=timezone.now(),
        is_locked=kind.isupper(),
        is_recovered=kind.lower() == "r",
        checksum="" if kind.lower() == "n" else "sha1:abc",
        disk="wings" if kind == "w" else "memory",
    )


def going(kinds, limit, **more):
    """Which of these, oldest first, give way; by their places."""
    whole = [made(place, kind) for place, kind in enumerate(kinds)]
    return [b.pk - 1 for b in choose_rotated(whole, limit, lambda b: b.disk != "wings", **more)]


@pytest.mark.parametrize(
    ("kinds", "limit", "gone"),
    [
        # As many as there are too many, the oldest first.
        ("vvvvv", 2, [0, 1, 2]),
        ("vv", 2, []),
        ("vv", 3, []),
        # The newest one never goes.
        ("vv", 0, [0]),
        ("v", 0, []),
        ("wwv", 2, []),
        # Locked ones and what the panel cannot delete stay, and another goes in their place.
        ("Vvv", 2, [1]),
        ("wvv", 2, [1]),
        ("VVv", 2, []),
        # Unverified ones go first, whatever their age.
        ("vrv", 2, [1]),
        ("vnv", 2, [1]),
        ("vrvv", 2, [1, 0]),
        ("rrv", 2, [0]),
        # Verified ones never give way to unverified ones.
        ("vr", 1, []),
        ("vrr", 1, [1]),
        ("vvr", 2, []),
        ("vvrr", 2, [2]),
        ("vvRr", 2, []),
        ("vvvr", 2, [0]),
        ("vvvrr", 2, [3, 0]),
        # The newest verified one never goes, be there ever so many.
        ("vr", 0, []),
        ("vvr", 0, [0]),
        # The newest one stays, verified or not.
        ("rr", 0, [0]),
        ("rrrv", 3, [0]),
    ],
)
def test_backups_deleted_by_rotation(kinds, limit, gone):
    assert going(kinds, limit) == gone


@pytest.mark.parametrize(
    ("kinds", "limit", "gone"),
    [
        ("v", 1, [0]),
        ("vv", 2, [0]),
        ("vv", 3, []),
        ("r", 1, [0]),
        ("vr", 2, [1]),
        ("V", 1, []),
        ("w", 1, []),
    ],
)
def test_backups_deleted_to_make_room_for_one(kinds, limit, gone):
    assert going(kinds, limit, expected=1) == gone


def found(size=10, etag="etag", mark="mark"):
    return StoredObject(size=size, etag=etag, mark=mark, content_type="application/x-gzip")


@pytest.mark.parametrize(
    ("row", "theirs", "why"),
    [
        ({}, found(), ""),
        ({}, found(mark=None), ""),
        ({}, found(size=11), "11 bytes instead of 10"),
        ({}, found(etag="other"), "its ETag is another"),
        ({}, found(mark="other"), "its mark is another"),
        ({}, found(mark=""), "its mark is another"),
        # Completed before ETags were kept.
        ({"object_etag": ""}, found(etag="other"), ""),
        ({"object_etag": ""}, found(mark="other"), "its mark is another"),
        ({"object_etag": ""}, found(size=11), "11 bytes instead of 10"),
        # A failed one proved no object, and has no size.
        ({"object_etag": "", "size": 0}, found(), ""),
        ({"object_etag": "", "size": 0}, found(mark="other"), "does not carry this backup's mark"),
        ({"object_etag": "", "size": 0}, found(mark=None), "does not carry this backup's mark"),
        (
            {"object_etag": "", "size": 0, "upload_mark": ""},
            found(mark=""),
            "does not carry this backup's mark",
        ),
    ],
)
def test_object_ownership(row, theirs, why):
    backup = Backup(**{"size": 10, "object_etag": "etag", "upload_mark": "mark", **row})
    problem = why_foreign(backup, theirs)
    assert why in problem
    assert bool(why) is bool(problem)
