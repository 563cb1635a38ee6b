"""The contract on stores that cannot run here, and what becomes of it once a difference is unknown.

Two imitations take their ways from ``testing.dialects``: the store in memory, and SeaweedFS behind
a proxy that answers as another store would. A store that runs here is tested as it is.
"""

from __future__ import annotations

import contextlib

import pytest

from backups_remote.storage import get_backend
from backups_remote.storage.s3 import differences
from backups_remote.storage.s3.differences import DIFFERENCES, Call, Means
from backups_remote.testing import DIALECTS, MemoryBackend
from backups_remote.testing.contract import Limit, scenarios
from tests.storage.stores import test_contract
from tests.storage.stores.conftest import NAME
from tests.storage.stores.speaking import Speaking
from tests.storage.stores.test_contract import MemoryContract, S3Contract
from tests.support.http import change_disk_options
from tests.support.proxy import Fault

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(NAME != "seaweedfs", reason="stands on SeaweedFS"),
]

TAKES_LATE_PARTS = {
    "a_part_after_the_end_is_refused": Limit("answered 200"),
}
#: What an imitated store cannot do, in memory.
LIMITS = {
    "swift": {
        **TAKES_LATE_PARTS,
        "a_part_after_the_end_harms_no_archive": Limit("GET answered 409"),
    },
    "rclone": {
        "the_objects_etag_is_the_one_that_its_parts_give": Limit("etag_of says"),
        "completion_answers_the_objects_etag_or_none": Limit("Complete answered"),
        "a_part_sent_again_replaces_the_first": Limit("PUT answered 501"),
        "an_upload_survives_a_refused_completion": Limit("NoSuchUpload"),
    },
    "s3proxy": {
        **TAKES_LATE_PARTS,
        "a_part_after_an_abort_is_refused": Limit("answered 200"),
    },
}
#: Scenarios that wait, or are about what the store in memory does not have.
LEFT_OUT = {*test_contract.TestMemory.limits}


class Imitated(MemoryContract):
    dialect = "aws"

    @pytest.fixture
    def backend(self):
        with imitating(self.dialect) as backend:
            yield backend


@contextlib.contextmanager
def imitating(dialect):
    MemoryBackend.clear()
    MemoryBackend.behave_like(dialect)
    yield MemoryBackend("memory")
    MemoryBackend.clear()


def _contract_on(dialect):
    untouched = {f"test_{name}": None for name in LEFT_OUT}
    body = {"dialect": dialect, "limits": LIMITS.get(dialect, {}), **untouched}
    return type(f"TestMemoryLike{dialect.title()}", (Imitated,), body)


for _dialect in DIALECTS:
    globals()[f"TestMemoryLike{_dialect.title()}"] = _contract_on(_dialect)


class Retold(S3Contract):
    dialect = "aws"
    # Small pages show the same in less time, below.
    test_more_than_a_thousand_uploads_are_listed = None

    @pytest.fixture
    def backend(self, disk, store, settings, s3):
        self.store, self.settings, self.s3 = store, settings, s3
        with Speaking(store.endpoint, DIALECTS[self.dialect]) as proxy:
            change_disk_options(settings, endpoint_url=proxy.url)
            yield get_backend(disk)


#: Words in the names of the scenarios that a dialect can change.
TOUCHED = ("upload", "abort", "complet", "gone", "the_end", "lost", "no_upload")


def _retold(dialect, **limits):
    untouched = [name for name in scenarios() if not any(word in name for word in TOUCHED)]
    body = {"dialect": dialect, "limits": limits, **{f"test_{name}": None for name in untouched}}
    body["pytestmark"] = pytest.mark.torture
    return type(f"TestS3Like{dialect.title()}", (Retold,), body)


TestS3LikeMinio = _retold("minio")
TestS3LikeVersitygw = _retold("versitygw")
TestS3LikeS3proxy = _retold(
    "s3proxy",
    a_part_after_the_end_is_refused=Limit("answered 200"),
    a_part_after_an_abort_is_refused=Limit("answered 200"),
)
TestS3LikeGarage = _retold("garage")


# A difference that is not known any more


def unknown(monkeypatch, line):
    monkeypatch.setattr(differences, "DIFFERENCES", tuple(d for d in DIFFERENCES if d is not line))


def broken_in_memory(dialect):
    """The scenarios that a store of this dialect fails."""
    contract = MemoryContract()
    known = {*LEFT_OUT, *LIMITS.get(dialect, {})}
    broken = []
    for name in scenarios():
        if name in known:
            continue
        with imitating(dialect) as backend:
            try:
                getattr(contract, f"test_{name}")(backend)
            except (Exception, pytest.fail.Exception):  # noqa: BLE001
                broken.append(name)
    return broken


#: Each line that the store in memory can show, with a dialect that shows it.
IN_MEMORY = [
    (Call.LIST_PARTS, "NoSuchUpload", "aws"),
    (Call.LIST_PARTS, "NoSuchKey", "ceph"),
    (Call.COMPLETE, "NoSuchUpload", "aws"),
    (Call.COMPLETE, "InternalError", "ceph"),
    (Call.ABORT, "NoSuchUpload", "garage"),
    (Call.ABORT, "NoSuchKey", "swift"),
    (Call.GET, "BrokenMPU", "swift"),
    (Call.LIST_UPLOADS, "NoSuchUpload", "rclone"),
    (Call.LIST_UPLOADS, "InvalidArgument", "versitygw"),
    (Call.DELETE, "InvalidArgument", "versitygw"),
]


def line_of(call, code):
    (line,) = [line for line in DIFFERENCES if (line.call, line.code) == (call, code)]
    return line


@pytest.mark.parametrize(
    ("call", "code", "dialect"), IN_MEMORY, ids=[f"{c.name}-{code}" for c, code, _ in IN_MEMORY]
)
def test_contract_in_memory_fails_without_a_known_difference(monkeypatch, call, code, dialect):
    assert broken_in_memory(dialect) == []
    unknown(monkeypatch, line_of(call, code))
    assert broken_in_memory(dialect) != []


#: Each line that only a real call shows: a scenario that fails without it, the dialect to hear it
#: in, and the answer to put in place of the store's where it never gives that one.
ON_THE_WIRE = [
    (Call.COMPLETE, "InvalidPart", "aws", "wrong_etags_are_rejected", None),
    (Call.COMPLETE, "EntityTooSmall", "aws", "parts_below_the_least_size_are_rejected", None),
    (
        *(Call.COMPLETE, "InvalidPartOrder", "aws", "etags_in_the_wrong_order_are_rejected"),
        Fault("complete", forward=False, answer=(400, "InvalidPartOrder")),
    ),
    (Call.HEAD, "404", "aws", "parts_become_an_object", None),
    (Call.GET, "NoSuchKey", "aws", "parts_become_an_object", None),
    (Call.GET, "NoSuchVersion", "aws", "a_version_is_looked_at_and_deleted_by_itself", None),
    (
        *(Call.DELETE, "NoSuchKey", "aws", "what_is_deleted_is_gone_and_gone_counts_as_deleted"),
        Fault("delete", forward=False, answer=(404, "NoSuchKey")),
    ),
    (
        *(Call.DELETE, "NoSuchVersion", "aws", "a_version_that_is_gone_counts_as_deleted"),
        Fault("delete", nth=2, forward=False, answer=(404, "NoSuchVersion")),
    ),
    (Call.DELETE, "InvalidArgument", "versitygw", "a_version_that_is_gone_counts_as_deleted", None),
    (Call.LIST_PARTS, "NoSuchKey", "ceph", "the_parts_of_no_upload_are_not_listed", None),
    (Call.COMPLETE, "InternalError", "ceph", "completing_twice_leaves_the_object_as_it_is", None),
    (Call.ABORT, "NoSuchKey", "swift", "aborting_what_is_finished_leaves_the_object", None),
    (Call.LIST_UPLOADS, "NoSuchUpload", "rclone", "no_open_upload_is_an_empty_list", None),
    *(
        (
            *(Call.LIST_UPLOADS, code, "aws", "an_upload_exists_from_its_begin_to_its_end"),
            Fault("list_uploads", times=4, forward=False, answer=(status, code)),
        )
        for status, code in ((403, "AccessDenied"), (501, "NotImplemented"))
    ),
    (
        *(Call.LIST_ALL_UPLOADS, "NoSuchUpload", "aws", "no_open_upload_is_an_empty_list"),
        Fault("list_uploads", nth=3, forward=False, answer=(404, "NoSuchUpload")),
    ),
]


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
@pytest.mark.torture
@pytest.mark.parametrize(
    ("call", "code", "dialect", "scenario", "fault"),
    ON_THE_WIRE,
    ids=[f"{call.name}-{code}" for call, code, *_ in ON_THE_WIRE],
)
def test_contract_over_http_fails_without_a_known_difference(
    monkeypatch, disk, store, settings, s3, call, code, dialect, scenario, fault, is_known
):
    contract = Retold()
    contract.store, contract.settings, contract.s3 = store, settings, s3
    if not is_known:
        unknown(monkeypatch, line_of(call, code))
    with Speaking(store.endpoint, DIALECTS[dialect]) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        if fault is not None:
            proxy.inject(Fault(**{n: getattr(fault, n) for n in FAULT}))
        works = contextlib.nullcontext()
        if not is_known:
            works = pytest.raises((Exception, pytest.fail.Exception))
        with works:
            getattr(contract, f"test_{scenario}")(get_backend(disk))


FAULT = ("operation", "nth", "times", "forward", "answer")


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("call", [Call.LIST_UPLOADS, Call.LIST_ALL_UPLOADS], ids=lambda c: c.name)
def test_a_second_page_of_uploads_needs_only_the_key_marker(
    monkeypatch, disk, store, settings, s3, call, is_known
):
    """Small pages, and keys with several uploads, which a page may end in the midst of."""
    if not is_known:
        unknown(monkeypatch, line_of(call, "InvalidArgument"))
    with PageOfTwo(store.endpoint, DIALECTS["versitygw"]) as proxy:
        change_disk_options(settings, endpoint_url=proxy.url)
        backend = get_backend(disk)
        location = backend._prefix
        wanted = [
            (key, backend.create_upload(key, "m"))
            for key in (f"{location}{letter}" for letter in "abc")
            for _ in "123"
        ]
        proxy.uploads = sorted(wanted)
        if call is Call.LIST_ALL_UPLOADS:
            proxy.hidden_under = location
        works = contextlib.nullcontext() if is_known else pytest.raises(Exception, match="Invalid")
        listed = []
        with works:
            for upload in backend.open_uploads():
                listed.append((upload.key, upload.upload_id))  # noqa: PERF401
    if is_known:
        assert sorted(listed) == sorted(wanted)
    else:
        assert listed == sorted(wanted)[:2], "what was listed is handed out before the error"


class PageOfTwo(Speaking):
    """Lists ``uploads``, sorted by key and then id as on Amazon's store, two on a page."""

    uploads = ()
    hidden_under = ""

    def _on_list_uploads(self, answer, key, query, state):
        refused = super()._on_list_uploads(answer, key, query, state)
        if refused[0] != 200:
            return refused
        prefix = query.get("prefix", "")
        shown = [u for u in self.uploads if u[0].startswith(prefix)]
        if prefix and prefix == self.hidden_under:
            shown = []
        shown = [u for u in shown if u[0] > query.get("key-marker", "")]
        # A whole key's own list is short enough for a page, as it is in life.
        size = 2 if prefix in {"", self.hidden_under} or prefix.endswith("/") else 9
        page, rest = shown[:size], shown[size:]
        body = "<Bucket>b</Bucket>" + "".join(
            f"<Upload><Key>{key}</Key><UploadId>{upload_id}</UploadId>"
            "<Initiated>2026-01-01T00:00:00Z</Initiated></Upload>"
            for key, upload_id in page
        )
        if rest:
            body += (
                f"<IsTruncated>true</IsTruncated><NextKeyMarker>{page[-1][0]}</NextKeyMarker>"
                f"<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>"
            )
        whole = f"<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>"
        return 200, [("Content-Type", "application/xml")], whole.encode()


def test_every_difference_has_a_failing_contract():
    broken = {(call, code) for call, code, *_ in [*IN_MEMORY, *ON_THE_WIRE]}
    broken |= {(call, "InvalidArgument") for call in (Call.LIST_UPLOADS, Call.LIST_ALL_UPLOADS)}
    assert broken == {(line.call, line.code) for line in DIFFERENCES}
    assert all(line.seen_on for line in DIFFERENCES)
    assert Means.FAULT not in {line.means for line in DIFFERENCES}
