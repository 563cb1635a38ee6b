"""The pytest plugin, in a project that loads it as its documentation says."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = """
SECRET_KEY = "not secret"
INSTALLED_APPS = ["backups_remote", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
BACKUPS_REMOTE = {"MAX_PART_SIZE": 5 * 1024**2}
"""

CONFTEST = """
import pytest

pytest_plugins = ["backups_remote.testing.plugin"]


@pytest.fixture
def server(db):
    from backups_remote.models import Node, Server

    return Server.objects.create(name="mc-1", node=Node.objects.create(name="fra-1"))
"""


@pytest.fixture
def run(tmp_path):
    """Runs the text of a test module in a project of its own; pytest's result."""

    def run(code, *options):
        for name, text in {"settings": SETTINGS, "conftest": CONFTEST, "test_it": code}.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, "--strict-markers", f"--rootdir={tmp_path}", "--ds=settings", *options],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_fixtures_complete_a_backup_in_an_empty_store(run):
    result = run(
        """
        import pytest
        from django.conf import settings

        from backups_remote import lifecycle
        from backups_remote.testing import MemoryBackend

        ARCHIVE = b"x" * (5 * 1024**2 + 1)


        @pytest.mark.parametrize("turn", [1, 2])
        def test_completed(
            turn, server, memory_store, complete_backup, backup_signals,
            django_capture_on_commit_callbacks,
        ):
            assert memory_store is MemoryBackend
            assert memory_store.objects == memory_store.uploads == {}
            assert memory_store.dialect.store.startswith("SeaweedFS")
            memory_store.behave_like("ceph")
            backup = lifecycle.start_backup(server)
            assert backup.disk == "memory"
            with django_capture_on_commit_callbacks(execute=True):
                report = complete_backup(backup, ARCHIVE)
            assert backup.is_successful
            assert (backup.size, backup.checksum) == (len(ARCHIVE), report.checksum)
            assert memory_store.objects[backup.object_key].body == ARCHIVE
            assert backup_signals == [("backup_completed", backup.uuid)]
            lifecycle.start_restore(backup)
            with django_capture_on_commit_callbacks(execute=True):
                lifecycle.record_restore(backup, successful=True)
            assert backup_signals[1:] == [("restore_reported", backup.uuid)]


        def test_settings_are_as_before():
            assert settings.BACKUPS_REMOTE == {"MAX_PART_SIZE": 5 * 1024**2}
            assert MemoryBackend.objects == {}
        """
    )
    assert "3 passed" in result.stdout, result.stdout + result.stderr


def test_failures_of_the_store_and_of_the_node(run):
    result = run(
        """
        import pytest

        from backups_remote import lifecycle
        from backups_remote.exceptions import StorageUnavailable
        from backups_remote.types import Report


        def test_failed(server, memory_store, backup_signals, django_capture_on_commit_callbacks):
            backup = lifecycle.start_backup(server)
            with django_capture_on_commit_callbacks(execute=True):
                lifecycle.record_report(backup, Report(successful=False))
            assert backup_signals == [("backup_failed", backup.uuid)]


        def test_timed_out(server, memory_store, complete_backup):
            memory_store.time_out("create_upload")
            with pytest.raises(StorageUnavailable):
                complete_backup(lifecycle.start_backup(server))
        """
    )
    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_the_contract_has_its_marker_and_shows_values_in_failures(run):
    result = run(
        """
        import pytest

        from backups_remote.testing import MemoryBackend
        from backups_remote.testing.contract import Answer, StoreContract


        class TestForgetful(StoreContract):
            @pytest.fixture
            def backend(self, memory_store):
                return Forgetful("memory")

            def put(self, url, body):
                return Answer(200, {"etag": MemoryBackend.put_part(url, body)})


        class Forgetful(MemoryBackend):
            def lists_every_upload(self):
                return False

            def open_uploads_of(self, key):
                return []
        """,
        "-k",
        "uploads_mark or exists or more_than_a_thousand_uploads",
    )
    assert "1 failed, 2 passed" in result.stdout, result.stdout + result.stderr
    assert "where False = upload_exists(" in result.stdout
