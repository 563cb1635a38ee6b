"""Which backend serves which disk."""

from __future__ import annotations

import pytest

from backups_remote import storage
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.storage.registry import is_named


def test_wings_is_the_disk_of_the_node():
    assert not storage.get_backend("wings").presigned_uploads


@pytest.mark.parametrize("disk", ["nowhere", "staticfiles"])
def test_disk_without_backend_is_not_configured(disk):
    with pytest.raises(DiskNotConfigured, match=disk):
        storage.get_backend(disk)


def test_backends_are_built_once_and_follow_the_settings(settings, disk):
    first = storage.get_backend(disk)
    assert storage.get_backend(disk) is first
    settings.STORAGES = dict(settings.STORAGES)
    assert storage.get_backend(disk) is not first


class OtherStorage:
    """A Django storage class of another project."""


class ChildOfOther(OtherStorage):
    """And one built on it."""


def test_a_registration_serves_a_storage_class_and_its_children(settings, monkeypatch):
    from backups_remote.storage import registry

    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    storage.register_backend(f"{__name__}.OtherStorage", "backups_remote.testing.MemoryBackend")
    settings.STORAGES = {
        **settings.STORAGES,
        "other": {"BACKEND": f"{__name__}.ChildOfOther"},
    }
    assert type(storage.get_backend("other")).__name__ == "MemoryBackend"
    assert "other" in storage.configured_disks()


def test_a_dotted_path_serves_a_disk(settings):
    settings.BACKUPS_REMOTE = {"BACKENDS": {"ram": "backups_remote.testing.MemoryBackend"}}
    assert repr(storage.get_backend("ram")) == "<MemoryBackend 'ram'>"


def test_disk_whose_backend_cannot_be_built_is_not_configured(settings):
    settings.BACKUPS_REMOTE = {"BACKENDS": {"ram": "tests.support.memory.BrokenBackend"}}
    with pytest.raises(DiskNotConfigured, match=r"'ram' cannot be set up \(KeyError\)"):
        storage.get_backend("ram")


@pytest.mark.parametrize(
    ("storage_class", "options", "named"),
    [
        ("storages.backends.s3.S3Storage", {"bucket_name": "backups"}, True),
        ("storages.backends.s3.S3Storage", {"bucket": "misspelt"}, True),
        ("a_library.that_is_missing.Storage", {}, True),
        ("django.core.files.storage.FileSystemStorage", {}, False),
    ],
    ids=["sound", "misspelt option", "missing library", "media"],
)
def test_disk_is_named_though_it_cannot_be_set_up(settings, storage_class, options, named):
    alias = {"BACKEND": storage_class, "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "mine": alias}
    settings.BACKUPS_REMOTE = {"BACKENDS": {"ram": "tests.support.memory.BrokenBackend"}}
    assert is_named("mine") is named
    assert is_named("ram")
    assert is_named("wings")
    assert not is_named("nowhere")
