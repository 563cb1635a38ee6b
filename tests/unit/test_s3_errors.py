"""Which of this app's errors an error of boto becomes."""

from __future__ import annotations

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError

from backups_remote.exceptions import (
    StorageUnavailable,
    UploadNotFound,
    UploadRejected,
)
from backups_remote.storage.s3 import translated_errors
from backups_remote.storage.s3.differences import DIFFERENCES, Call, Means


def client_error(code, status=400):
    answer = {"Error": {"Code": code, "Message": "https://u?X-Amz-Signature=secret"}}
    return ClientError({**answer, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")


KINDS = {Means.UPLOAD_GONE: UploadNotFound, Means.REJECTED: UploadRejected}


@pytest.mark.parametrize("line", DIFFERENCES, ids=lambda line: f"{line.call.name}-{line.code}")
def test_known_code_is_mapped_for_its_call_only(line):
    kind = KINDS.get(line.means, StorageUnavailable)
    with pytest.raises(kind, match=line.code), translated_errors("a test", line.call):
        raise client_error(line.code)
    with pytest.raises(StorageUnavailable, match=line.code), translated_errors("a test"):
        raise client_error(line.code)


@pytest.mark.parametrize("call", Call, ids=lambda call: call.name)
@pytest.mark.parametrize("code", ["AccessDenied", "XAdminUserNotFound", "NoSuchBucket", "403"])
def test_refusal_is_not_mapped_to_missing(call, code):
    with pytest.raises(StorageUnavailable, match=code), translated_errors("a test", call):
        raise client_error(code)


@pytest.mark.parametrize(
    "code", ["AccessDenied", "403", "SlowDown", "InternalError", "NoSuchBucket"]
)
def test_unknown_code_is_storage_unavailable(code):
    with pytest.raises(StorageUnavailable, match=code) as caught, translated_errors("a test"):
        raise client_error(code)
    assert "Signature" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ClientError)


def every_boto_error():
    for name, kind in vars(boto).items():
        if isinstance(kind, type) and issubclass(kind, boto.BotoCoreError | boto.HTTPClientError):
            yield name, kind


@pytest.mark.parametrize(("name", "kind"), list(every_boto_error()))
def test_every_boto_error_is_translated(name, kind):
    error = kind.__new__(kind)
    with pytest.raises(StorageUnavailable), translated_errors("a test"):
        raise error
