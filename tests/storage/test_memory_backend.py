"""The store in memory: its faults, its dialects, and the limits of the contract."""

from __future__ import annotations

import datetime as dt
import gc
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from backups_remote.exceptions import (
    StorageTimeout,
    StorageUnavailable,
)
from backups_remote.testing import Dialect, MemoryBackend
from backups_remote.testing.contract import Limit, StoreContract

pytestmark = pytest.mark.django_db

ARCHIVE = b"archive"


def begun():
    backend = MemoryBackend("memory")
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    upload_id = backend.create_upload(key, "mark")
    (url,) = backend.presign_parts(key, upload_id, 1, dt.timedelta(hours=1))
    return backend, key, upload_id, [MemoryBackend.put_part(url, ARCHIVE)]


@pytest.mark.parametrize("outcome", ["done", "late", "never"])
def test_timed_out_completion_ends_now_late_or_never(outcome):
    backend, key, upload_id, etags = begun()
    MemoryBackend.time_out("complete_upload", outcome=outcome)
    with pytest.raises(StorageTimeout):
        backend.complete_upload(key, upload_id, etags)
    assert (backend.stat(key) is not None) == (outcome == "done")
    MemoryBackend.finish_late()
    assert (backend.stat(key) is not None) == (outcome != "never")
    assert backend.upload_exists(key, upload_id) == (outcome == "never")
    if outcome == "never":
        assert backend.complete_upload(key, upload_id, etags) == backend.stat(key).etag


@pytest.mark.parametrize(
    "method", ["create_upload", "list_parts", "abort_upload", "stat", "delete"]
)
def test_each_call_times_out_the_given_number_of_times(method):
    backend, key, upload_id, _ = begun()
    call = {
        "create_upload": lambda: backend.create_upload(key, "mark"),
        "list_parts": lambda: backend.list_parts(key, upload_id),
        "abort_upload": lambda: backend.abort_upload(key, upload_id),
        "stat": lambda: backend.stat(key),
        "delete": lambda: backend.delete(key, version_id=""),
    }[method]
    MemoryBackend.time_out(method, times=2)
    for _ in "12":
        with pytest.raises(StorageTimeout):
            call()
    call()


def test_restart_drops_what_the_dialect_forgets():
    backend, key, upload_id, etags = begun()
    MemoryBackend.behave_like("minio")
    MemoryBackend.restart()
    assert list(backend.open_uploads()) == []
    assert backend.upload_exists(key, upload_id)
    backend.complete_upload(key, upload_id, etags)

    MemoryBackend.behave_like("rclone")
    backend.create_upload(key, "mark")
    MemoryBackend.restart()
    assert backend.open_uploads_of(key) == []
    assert backend.stat(key).mark is None


def test_custom_dialect_is_accepted_and_unknown_name_refused():
    MemoryBackend.behave_like(Dialect(store="mine", answers_etag=False))
    backend, key, upload_id, etags = begun()
    assert backend.complete_upload(key, upload_id, etags) == ""
    with pytest.raises(KeyError):
        MemoryBackend.behave_like("nobody")
    MemoryBackend.clear()
    assert MemoryBackend.dialect.answers_etag


@pytest.fixture
def eager_switches():
    """Threads are switched wherever they can be, also within a garbage collection."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def collected(*_args):
        for _ in range(10):
            pass

    sys.setswitchinterval(1e-6)
    gc.callbacks.append(collected)
    gc.freeze()
    gc.set_threshold(50)
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()
    gc.callbacks.remove(collected)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switches")
def test_threads_use_the_store_at_once():
    MemoryBackend.behave_like("minio")
    backend = MemoryBackend("memory")
    keys = [f"{uuid.uuid4()}/{uuid.uuid4()}.tar.gz" for _ in range(300)]
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda key: backend.create_upload(key, "mark"), keys))
        list(pool.map(backend.abort_upload, keys, begun))
    assert not MemoryBackend.uploads


def test_the_package_is_imported_without_pytest():
    look = "import sys, backups_remote.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


class Broken(MemoryBackend):
    def abort_upload(self, key, upload_id):
        raise StorageUnavailable("The store answered Teapot.")


def contract_with(**limits):
    return type("Contract", (StoreContract,), {"part_size": 8, "limits": limits})()


def test_a_declared_limit_is_shown_with_its_answer():
    contract = contract_with(what_is_gone_counts_as_aborted=Limit("Teapot", "so it is"))
    with pytest.raises(pytest.xfail.Exception, match="Teapot: so it is"):
        contract.test_what_is_gone_counts_as_aborted(Broken("memory"))


def test_undeclared_outcome_of_a_limit_is_a_failure():
    contract = contract_with(what_is_gone_counts_as_aborted=Limit("Kettle"))
    with pytest.raises(StorageUnavailable, match="Teapot"):
        contract.test_what_is_gone_counts_as_aborted(Broken("memory"))
    with pytest.raises(pytest.fail.Exception, match="no limit any more: Kettle"):
        contract.test_what_is_gone_counts_as_aborted(MemoryBackend("memory"))


def test_limit_must_name_a_scenario():
    with pytest.raises(TypeError, match="no_such_thing"):
        contract_with(no_such_thing=Limit("x"))
