"""Where the archives of a disk lie: one bucket, one location, for as long as a process lives."""

from __future__ import annotations

import inspect
from typing import Any, Final, NamedTuple

from backups_remote.exceptions import DiskNotConfigured

#: The storage's attributes that say where.
ATTRIBUTES: Final = ("bucket_name", "location", "endpoint_url", "region_name")


class Place(NamedTuple):
    """The values of ``ATTRIBUTES``."""

    bucket_name: str | None
    location: str
    endpoint_url: str | None
    region_name: str | None


def place_of(alias: str, storage: Any) -> Place:
    """What the storage says now.

    Raises:
        DiskNotConfigured: it cannot tell, without a tenant for example.

    """
    try:
        place = Place(*(getattr(storage, name) for name in ATTRIBUTES))
    except Exception as error:
        # Whatever a class of the host project raises.
        raise DiskNotConfigured(f"The disk {alias!r} does not tell where it is.") from error
    location: object = place.location
    if not isinstance(location, str):
        kind = type(location).__name__
        raise DiskNotConfigured(f"The location of the disk {alias!r} is of type {kind}, not str.")
    return place


def refuse_another_place(alias: str, storage: Any, first: Place) -> None:
    """Make sure that the storage still says what it said ``first``.

    A subclass may choose by tenant or request. Rows name no bucket, and a sweep has no tenant:
    archives would be written to one place, and looked for, or cleaned up, in another.

    Raises:
        DiskNotConfigured: it says something else.

    """
    changed = [
        name
        for name, before, now in zip(ATTRIBUTES, first, place_of(alias, storage), strict=True)
        if before != now
    ]
    if changed:
        raise DiskNotConfigured(
            f"The disk {alias!r} is not where it was: its {' and '.join(changed)} changed. "
            "Make a disk for each place."
        )


def computed_attributes(storage: Any) -> list[str]:
    """Which of ``ATTRIBUTES`` are computed at each access, by a property for example."""
    return [
        name
        for name in ATTRIBUTES
        if inspect.isdatadescriptor(inspect.getattr_static(storage, name, None))
    ]
