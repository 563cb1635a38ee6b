"""Objects that HEAD shows and GET does not hand out."""

import pytest

from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage import get_backend
from tests.support.proxy import Fault


@pytest.fixture
def key(store, s3, location):
    key = f"{location}/k"
    s3.put_object(Bucket=store.bucket, Key=key, Body=b"archive")
    return key


def answering(status, code):
    return Fault("get", forward=False, answer=(status, code), times=9)


def test_an_object_that_can_be_read_is_intact(proxy, disk, key):
    assert get_backend(disk).is_intact(key)
    assert not get_backend(disk).is_intact(f"{key}-absent")


def test_a_broken_object_is_shown_and_is_not_intact(proxy, disk, key):
    with proxy.going_wrong(answering(409, "BrokenMPU")):
        assert get_backend(disk).stat(key).size == 7
        assert not get_backend(disk).is_intact(key)


def test_a_fault_proves_nothing_about_the_object(proxy, disk, key):
    with proxy.going_wrong(answering(403, "AccessDenied")), pytest.raises(StorageUnavailable):
        get_backend(disk).is_intact(key)


def test_a_broken_object_is_not_absent(proxy, disk, key):
    absent = Fault("head", forward=False, answer=(404, "NoSuchKey"), times=9)
    with (
        proxy.going_wrong(absent, answering(409, "BrokenMPU")),
        pytest.raises(StorageUnavailable, match="BrokenMPU"),
    ):
        get_backend(disk).stat(key)
