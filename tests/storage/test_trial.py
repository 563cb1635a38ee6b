"""``check --deploy`` tries an upload as a node would make it: real stores, real answers."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import botocore.auth
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from django.core import checks

from backups_remote import checks as ours
from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage import get_backend
from backups_remote.storage.s3 import trial
from tests.support.disks import with_disk
from tests.support.http import CLOSED, change_disk_options
from tests.support.proxy import Fault

pytestmark = pytest.mark.once

MINUTE = dt.timedelta(minutes=1)


def found():
    messages = ours.check_connections(None)
    for message in messages:
        assert message.hint
        assert "X-Amz-" not in message.msg
        assert "Signature=" not in message.msg
    return messages


def one(number):
    [message] = found()
    assert message.id == f"backups_remote.{number}"
    assert message.level == (checks.ERROR if number.startswith("E") else checks.WARNING)
    return f"{message.msg} {message.hint}"


def test_trial_leaves_nothing(proxy, s3, store, location, open_uploads):
    assert found() == []
    calls = [call.operation for call in proxy.log if location in call.key]
    assert [name for name in calls if name in {"create", "part", "list_parts", "abort"}] == [
        "create",
        "part",
        "list_parts",
        "abort",
    ]
    assert open_uploads() == []
    assert "Contents" not in s3.list_objects_v2(Bucket=store.bucket, Prefix=location)


@pytest.mark.parametrize(
    ("operation", "number", "words"),
    [
        ("create", "E111", "may lack s3:PutObject"),
        ("part", "E112", "may lack s3:PutObject"),
        ("list_parts", "E113", "may lack s3:ListMultipartUploadParts"),
        ("abort", "E114", "may lack s3:AbortMultipartUpload"),
        ("head", "W107", "Allow s3:ListBucket"),
    ],
)
def test_missing_right_is_named(proxy, operation, number, words):
    answer = (403, "AccessDenied")
    fault = Fault(operation, "tar.gz", times=9, forward=False, answer=answer)
    with proxy.going_wrong(fault):
        assert words in one(number)
    assert fault.hits


@pytest.mark.parametrize(
    ("operation", "number"),
    [("create", "E111"), ("list_parts", "E113"), ("abort", "E114"), ("head", "E115")],
)
def test_answer_of_the_store_is_shown(proxy, operation, number):
    fault = Fault(operation, "tar.gz", times=9, forward=False, answer=(503, "SlowDown"))
    with proxy.going_wrong(fault):
        assert "503" in one(number) or "SlowDown" in one(number)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, "InvalidRequest"), "answered 400 (InvalidRequest) by 127.0.0.1:"),
        ((400, "InvalidRequest"), "retention period"),
        ((403, "SignatureDoesNotMatch"), "pass the Host header"),
        ((307, "TemporaryRedirect"), "answered 307"),
        ((400, "AuthorizationHeaderMalformed"), "the disk's region"),
    ],
)
def test_answer_that_a_node_would_get_is_shown(proxy, answer, words):
    with proxy.going_wrong(Fault("part", times=9, forward=False, answer=answer)):
        assert words in one("E112")


def test_upload_of_a_failed_trial_is_aborted(proxy, open_uploads):
    with proxy.going_wrong(Fault("part", times=9, forward=False, answer=(403, "AccessDenied"))):
        one("E112")
    assert open_uploads() == []


def test_put_is_sent_by_a_node(proxy, monkeypatch):
    """One header of its own, no proxy that only the panel's environment names."""
    sent = {}
    pool = trial.urllib3.PoolManager

    class Noticing(pool):
        def request(self, method, url, **kwargs):
            monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
            sent.update(kwargs, method=method, proxy=self.proxy)
            return super().request(method, url, **kwargs)

    monkeypatch.setattr(trial.urllib3, "PoolManager", Noticing)
    monkeypatch.setenv("NO_PROXY", "")
    get_backend("s3")._built  # noqa: B018 - built before the environment names a proxy
    assert found() == []
    assert (sent["method"], sent["body"], sent["proxy"]) == ("PUT", b"\0", None)
    assert sent["headers"] == {"Content-Type": "application/x-gzip"}


def test_public_endpoint_out_of_reach_is_a_warning(settings, disk):
    settings.BACKUPS_REMOTE = {
        "DEFAULT_DISK": "s3",
        "PUBLIC_ENDPOINTS": {"s3": CLOSED},
    }
    assert "cannot tell whether nodes reach" in one("W108")


def test_upload_that_reaches_nothing(proxy):
    with proxy.going_wrong(Fault("part", times=9, forward=False, answer="reset")):
        assert "does not reach 127.0.0.1:" in one("E112")


def shift_clocks(monkeypatch, shift):
    """That of the app, and that which botocore signs with."""

    def now():
        return dt.datetime.now(dt.UTC) + shift

    class Shifted(dt.datetime):
        @classmethod
        def utcnow(cls):
            return now().replace(tzinfo=None)

    monkeypatch.setattr(trial, "_now", now)
    if hasattr(botocore.auth, "get_current_datetime"):
        monkeypatch.setattr(botocore.auth, "get_current_datetime", now)
    else:  # older versions
        monkeypatch.setattr(botocore.auth, "datetime", SimpleNamespace(datetime=Shifted))


@pytest.mark.parametrize(("shift", "words"), [(40 * MINUTE, "ahead of"), (-40 * MINUTE, "behind")])
def test_clock_that_is_off_says_so(disk, monkeypatch, shift, words):
    """The store's own answer: nothing of it is made up."""
    shift_clocks(monkeypatch, shift)
    message = one("E116")
    assert f"seconds {words} that of the store" in message
    assert "credential" not in message.lower()


def test_clock_is_compared_with_any_answer(disk, monkeypatch):
    """Where the first call went well: a cache may have answered it."""
    headers = {"date": "Sat, 28 Nov 2026 10:00:00 GMT"}
    answer = {"ResponseMetadata": {"HTTPHeaders": headers}, "Error": {"Code": "403"}}

    def refuse(*args):
        raise StorageUnavailable("403") from ClientError(answer, "CreateMultipartUpload")

    backend = get_backend(disk)
    monkeypatch.setattr(backend, "create_upload", refuse)
    monkeypatch.setattr(trial, "_now", lambda: dt.datetime(2026, 11, 28, 9, 50, tzinfo=dt.UTC))
    [message] = trial.try_upload(backend, is_public=False)
    assert message.id == "backups_remote.E116"
    assert (
        "600 seconds behind that of the store of the disk 's3' (2026-11-28 10:00:00" in message.msg
    )


def test_answer_without_a_date_does_not_judge_the_clock():
    for headers in ({}, {"date": ""}, {"date": "yesterday"}):
        assert trial.clock_problem("s3", headers) is None


@pytest.mark.parametrize(
    ("options", "code", "hint"),
    [
        ({"secret_key": "another"}, "SignatureDoesNotMatch", "The secret key differs"),
        ({"access_key": "nobody"}, "InvalidAccessKeyId", "does not know the access key"),
        ({"bucket_name": "no-such-bucket"}, "NoSuchBucket", "Make the bucket"),
    ],
)
def test_e103_says_what_is_wrong(settings, disk, options, code, hint):
    change_disk_options(settings, **options)
    message = one("E103")
    assert code in message
    assert hint in message


def test_key_that_may_not_list_the_bucket_is_tried_all_the_same(settings, disk):
    """HeadBucket needs s3:ListBucket."""

    def refuse(request, **_):
        body = b"" if request.method == "HEAD" else b"<Error><Code>AccessDenied</Code></Error>"
        raw = type("Body", (), {"stream": lambda *_, **__: iter([body])})()
        return AWSResponse(request.url, 403, {}, raw)

    events = get_backend("s3")._client.meta.events
    for call in ("HeadBucket", "ListObjectsV2"):
        events.register(f"before-send.s3.{call}", refuse)
    assert found() == []


def test_e117_the_bucket_is_in_another_region(settings):
    """As Amazon S3 answers, once botocore has followed its redirect."""
    with_disk(settings, bucket_name="backups", access_key="key", secret_key="secret")

    def answer(request, **_):
        body = type("Body", (), {"stream": lambda *_, **__: iter([b""])})()
        headers = {"x-amz-bucket-region": "eu-central-1"}
        return AWSResponse(request.url, 200, headers, body)

    get_backend("s3")._client.meta.events.register("before-send.s3", answer)
    message = next(m for m in found() if m.id == "backups_remote.E117")
    assert "is in the region eu-central-1" in message.msg
    assert "names us-east-1" in message.msg


def test_a_plain_check_begins_no_upload(proxy):
    checks.run_checks(databases=[])
    assert proxy.log == []
