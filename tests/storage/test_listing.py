"""What the S3 backend makes of lists of uploads, page by page, in the answers of any store."""

from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSResponse

from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage import get_backend
from tests.conftest import S3_BACKEND

XML = {"Content-Type": "application/xml"}


class Body:
    """What botocore reads an answer's body from."""

    def __init__(self, content):
        self.content = content

    def stream(self, **_):
        yield self.content


def error(code):
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>"


def page(uploads=(), *, key_marker="", id_marker="", is_truncated=None):
    """One page of ListMultipartUploads."""
    body = "<Bucket>b</Bucket>" + "".join(
        f"<Upload><Key>{key}</Key><UploadId>{upload_id}</UploadId>"
        "<Initiated>2026-01-01T00:00:00Z</Initiated></Upload>"
        for key, upload_id in uploads
    )
    if is_truncated if is_truncated is not None else key_marker or id_marker:
        body += "<IsTruncated>true</IsTruncated>"
    if key_marker:
        body += f"<NextKeyMarker>{key_marker}</NextKeyMarker>"
    if id_marker:
        body += f"<NextUploadIdMarker>{id_marker}</NextUploadIdMarker>"
    return f"<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>"


class ScriptedStore:
    """Answers ListMultipartUploads as told, without a network."""

    def __init__(self, alias):
        self.backend = get_backend(alias)
        self.server = "any"
        self.asked = []
        events = self.backend._client.meta.events
        events.register("before-send.s3.ListMultipartUploads", self._answer)

    def _answer(self, request, **_):
        query = {name: v[0] for name, v in parse_qs(urlsplit(request.url).query).items()}
        asked = query.get("prefix", ""), query.get("key-marker"), query.get("upload-id-marker")
        self.asked.append(asked)
        assert len(self.asked) < 50, "the list does not end"
        status, body = 200, self.answers(*asked)
        if "<Error>" in body:
            status = 403 if "AccessDenied" in body else 400
        headers = {**XML, "Server": self.server}
        return AWSResponse(request.url, status, headers, Body(body.encode()))

    def listed(self):
        return [(u.key, u.upload_id) for u in self.backend.open_uploads()]


@pytest.fixture
def scripted(settings):
    settings.STORAGES = {
        **settings.STORAGES,
        "scripted": {
            "BACKEND": S3_BACKEND,
            "OPTIONS": {
                "bucket_name": "b",
                "access_key": "k",
                "secret_key": "s",
                "endpoint_url": "http://127.0.0.1:1",
                "region_name": "r",
                "location": "L",
            },
        },
    }
    return ScriptedStore("scripted")


# Stores that list exact keys only


def test_what_a_list_by_prefix_leaves_out_is_found_out(scripted):
    scripted.answers = lambda prefix, *_: page([("L/k", "u")] if prefix == "L/k" else [])
    assert scripted.backend.lists_by_prefix("L/k", "u") is False
    assert scripted.backend.lists_by_prefix("L/k", "another") is None
    scripted.answers = lambda prefix, *_: page([("L/k", "u")] if "L/k".startswith(prefix) else [])
    assert scripted.backend.lists_by_prefix("L/k", "u") is True


@pytest.mark.parametrize(
    ("server", "is_complete"), [("MinIO", False), ("MinIO/2026-02", False), ("nginx", True)]
)
def test_a_store_that_names_itself_says_that_its_list_is_partial(scripted, server, is_complete):
    scripted.server = server
    scripted.answers = lambda *_: page()
    assert scripted.listed() == []
    assert scripted.backend.lists_every_upload() is is_complete


def test_the_list_of_the_whole_bucket_is_filtered(scripted):
    scripted.answers = lambda prefix, *_: page([] if prefix else [("L/k", "u"), ("LX/k", "v")])
    assert scripted.listed() == [("L/k", "u")]


def test_the_uploads_of_a_key_are_not_those_of_a_longer_one(scripted):
    scripted.answers = lambda *_: page([("L/k", "u"), ("L/k2", "v")])
    assert [u.upload_id for u in scripted.backend.open_uploads_of("L/k")] == ["u"]


# Pages


def in_pages(*pages):
    """Answers by the markers that a page is asked for with; keys of their own are not listed."""
    answers = dict(pages)
    return lambda prefix, *markers: answers[markers]


FIRST = (None, None)


def test_an_empty_page_that_names_the_next_one_is_not_the_end(scripted):
    scripted.answers = in_pages(
        (FIRST, page(key_marker="L/a", id_marker="1")),
        (("L/a", "1"), page(key_marker="L/b", id_marker="2")),
        (("L/b", "2"), page([("L/c", "u")])),
    )
    assert scripted.listed() == [("L/c", "u")]


@pytest.mark.parametrize(
    "pages",
    [
        [(FIRST, page([("L/a", "u")], key_marker="L/a", id_marker="u"))] * 2,
        [(FIRST, page(is_truncated=True))],
        [(FIRST, page([("L/a", "u")], is_truncated=True))],
    ],
    ids=["same markers", "no markers", "no markers, same key"],
)
def test_a_list_that_repeats_a_page_is_an_error(scripted, pages):
    answer = pages[0][1]
    scripted.answers = lambda *_: answer
    with pytest.raises(StorageUnavailable, match="repeats a page"):
        scripted.listed()


def test_a_list_that_goes_round_is_an_error(scripted):
    there, back = page(key_marker="L/a", id_marker="1"), page(key_marker="L/b", id_marker="2")
    scripted.answers = lambda prefix, key, _id: back if key == "L/a" else there
    with pytest.raises(StorageUnavailable, match="repeats a page"):
        scripted.listed()


def test_a_later_page_that_is_no_list_is_an_error(scripted):
    """NoSuchUpload is an empty list only where nothing was listed before it."""
    scripted.answers = in_pages(
        (FIRST, page([("L/a", "u")], key_marker="L/a", id_marker="u")),
        (("L/a", "u"), error("NoSuchUpload")),
    )
    with pytest.raises(StorageUnavailable, match="NoSuchUpload"):
        scripted.listed()


@pytest.mark.parametrize("key_marker", ["L/b", ""], ids=["key marker", "no marker"])
def test_a_page_that_ends_inside_a_key_and_names_no_upload_id_loses_nothing(scripted, key_marker):
    """Such a store goes on after the key: the rest of the key's own uploads is asked for."""
    uploads = [("L/a", "1"), ("L/b", "2"), ("L/b", "3"), ("L/b", "4"), ("L/c", "5"), ("L/d", "6")]

    def answer(prefix, after, _id):
        shown = [u for u in uploads if u[0].startswith(prefix) and u[0] > (after or "")]
        if prefix != "L/" or len(shown) <= 2:
            return page(shown)
        return page(shown[:2], key_marker=key_marker and shown[1][0], is_truncated=True)

    scripted.answers = answer
    assert sorted(scripted.listed()) == uploads


def test_a_list_of_parts_needs_its_upload_id(scripted):
    answer = "<ListPartsResult><Bucket>b</Bucket></ListPartsResult>"
    scripted.backend._client.meta.events.register(
        "before-send.s3.ListParts",
        lambda request, **_: AWSResponse(request.url, 200, XML, Body(answer.encode())),
    )
    with pytest.raises(StorageUnavailable, match="not a list of parts"):
        scripted.backend.list_parts("L/k", "u")
