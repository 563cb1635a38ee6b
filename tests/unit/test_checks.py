"""The checks that ask no store, by their ids."""

from __future__ import annotations

import datetime as dt
import socket

import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, ProgrammingError, connection
from storages.backends.s3 import S3Storage

from backups_remote import checks as ours
from backups_remote.checks.settings import _RULES
from backups_remote.conf import DEFAULTS
from backups_remote.exceptions import DiskNotConfigured
from backups_remote.storage import configured_disks, get_backend
from backups_remote.storage.s3 import S3Backend
from tests.conftest import S3_BACKEND
from tests.support.disks import with_disk
from tests.support.factories import NodeFactory, ServerFactory

pytestmark = pytest.mark.once


def ids(found):
    return [message.id for message in found]


def found_for(settings, value):
    settings.BACKUPS_REMOTE = value
    return ours.check_settings(None)


def test_default_settings_pass_the_checks(settings):
    assert found_for(settings, {}) == []
    assert found_for(settings, dict(DEFAULTS)) == []
    del settings.BACKUPS_REMOTE
    assert ours.check_settings(None) == []


def test_e001_settings_are_a_dict(settings):
    assert ids(found_for(settings, ["wings"])) == ["backups_remote.E001"]
    assert ours.check_disks(None) == []


def test_e002_an_unknown_key_is_named(settings):
    (error,) = found_for(settings, {"MAX_PARTSIZE": 1})
    assert error.id == "backups_remote.E002"
    assert "MAX_PARTSIZE" in error.msg
    assert "MAX_PART_SIZE" in error.hint


BAD = {
    "DEFAULT_DISK": ("E003", ["nowhere", "staticfiles", None, 5, ["wings"], {}]),
    "MAX_PART_SIZE": ("E004", [0, 5 * 1024**2 - 1, 5 * 1024**3 + 1, "128", 1e9, True, None]),
    "MAX_PARTS": ("E005", [0, 10_001, -1, "10", None, True]),
    "URL_LIFESPAN": ("E006", [0, -1, 604_801, dt.timedelta(days=8), "1h", float("inf"), True]),
    "STALE_AFTER": ("E007", [-1, dt.timedelta.max, "6h", None, float("nan"), False]),
    "REPORT_REPLAY_WINDOW": ("E008", [-1, "60", None, True]),
    "MAX_CONCURRENT_UPLOADS": ("E009", [0, -1, "4", True, 1.5]),
    "AUTHENTICATION_CLASSES": ("E010", [[], "x.Y", ["no.such.Class"], ["builtins.dict"], [None]]),
    "BACKENDS": (
        "E011",
        [
            *([], None, 5, "x", True),
            *({"s3": "no.such.Backend"}, {"s3": "builtins.dict"}, {"s3": None}, {5: "x"}),
        ],
    ),
    "BACKUP_OVERDUE_AFTER": ("E017", [0, 59, -1, "1d", True, dt.timedelta(days=4000)]),
    "RECOVER_UPLOADS": ("E012", [None, 1, "yes"]),
    "DAEMON": ("E014", [5, "", "no.such.Daemon", "builtins.dict", ["x"]]),
    "PUBLIC_ENDPOINTS": (
        "E015",
        [
            None,
            ["wings"],
            {"nowhere": "https://x"},
            {"wings": "x"},
            {"wings": "ftp://x"},
            {"wings": 5},
        ],
    ),
    "EVENTS_KEPT": ("E016", [None, 0, 86_399, -1, "1y", True, dt.timedelta(days=4000)]),
    "RESTORE_TIMEOUT": ("E013", [None, 0, 59, -1, "1h", True, dt.timedelta(days=4000)]),
}


_REPLAY = "REPORT_REPLAY_WINDOW"
CASES = [(key, number, value) for key, (number, values) in BAD.items() for value in values]


@pytest.mark.parametrize(("key", "number", "value"), CASES)
def test_invalid_value_is_an_error_with_id_and_hint(settings, key, number, value):
    settings.BACKUPS_REMOTE = {key: value}
    found = checks.run_checks(include_deployment_checks=True, databases=[])
    (error,) = [m for m in found if m.id.startswith("backups_remote.E")]
    assert error.id == f"backups_remote.{number}"
    assert key in error.msg
    assert error.hint


def test_e018_an_alias_hides_behind_the_nodes_disk(settings):
    def found(value):
        settings.BACKUPS_REMOTE = value
        return [m for m in checks.run_checks(databases=[]) if m.id == "backups_remote.E018"]

    assert found({}) == []
    storage = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, "wings": storage}
    (error,) = found({})
    assert (error.level, "'wings'" in error.msg) == (checks.ERROR, True)
    # Chosen on purpose: archives of the disk go there.
    assert found({"BACKENDS": {"wings": "backups_remote.testing.MemoryBackend"}}) == []
    # Another check says what is wrong.
    assert found({"BACKENDS": 7}) == []


def test_every_setting_has_a_check():
    assert {rule.key for rule in _RULES} == DEFAULTS.keys() == BAD.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MAX_PART_SIZE", 5 * 1024**2),
        ("URL_LIFESPAN", 3600),
        ("URL_LIFESPAN", dt.timedelta(days=7)),
        ("STALE_AFTER", 0),
        ("REPORT_REPLAY_WINDOW", dt.timedelta(minutes=5)),
        ("MAX_CONCURRENT_UPLOADS", 8),
        ("BACKUP_OVERDUE_AFTER", None),
        ("BACKUP_OVERDUE_AFTER", 60),
        ("DAEMON", None),
        ("DAEMON", "backups_remote.daemon.WingsDaemon"),
        ("BACKENDS", {"wings": "backups_remote.testing.MemoryBackend"}),
    ],
)
def test_valid_value_passes(settings, key, value):
    assert found_for(settings, {key: value}) == []


def test_a_default_disk_may_be_one_of_the_backends(settings):
    backends = {"memory": "backups_remote.testing.MemoryBackend"}
    assert found_for(settings, {"DEFAULT_DISK": "memory", "BACKENDS": backends}) == []


@pytest.mark.parametrize(
    ("replay", "warned"), [({}, True), ({"REPORT_REPLAY_WINDOW": 0}, True), (300, False)]
)
def test_w002_wings_disk_needs_a_replay_window(settings, replay, warned):
    """A daemon deletes the archive it keeps when the repeat of its report gets an error."""
    settings.BACKUPS_REMOTE = replay if isinstance(replay, dict) else {_REPLAY: replay}
    assert ids(checks.run_checks(databases=[])) == (["backups_remote.W002"] if warned else [])


def test_w002_store_needs_no_replay_window(settings):
    with_disk(settings, bucket_name="b")
    assert ids(ours.check_replay(None)) == []


def test_e100_a_disk_that_cannot_be_built(settings):
    with_disk(settings, bucket_name="b", no_such_option=1)
    assert ids(ours.check_disks(None)) == ["backups_remote.E100"]


def test_e101_a_disk_names_a_bucket(settings):
    with_disk(settings)
    assert ids(ours.check_disks(None)) == ["backups_remote.E101"]


def test_e102_nodes_cannot_send_a_customers_key(settings):
    with_disk(settings, bucket_name="b", object_parameters={"SSECustomerAlgorithm": "AES256"})
    assert ids(ours.check_disks(None)) == ["backups_remote.E102"]


class OwnSession(S3Storage):
    """Has a region, and must not be asked for a session."""

    def _create_session(self):
        raise AssertionError("a session was made")


@pytest.fixture
def no_region(monkeypatch, tmp_path):
    """A host whose environment says nothing of a region, and which has no network."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


class NotForBackups(S3Storage):
    """An alias of the host's own, whose set-up asks the network, as a manifest's does."""

    def __init__(self, **options):
        raise EndpointConnectionError(endpoint_url="https://secret@nowhere")


def test_disk_not_used_for_backups_is_not_built(settings):
    with_disk(settings, backend=f"{__name__}.NotForBackups")
    settings.STORAGES["media"] = {
        "BACKEND": S3_BACKEND,
        "OPTIONS": {"object_parameters": {"SSECustomerAlgorithm": "AES256"}},
    }
    settings.STORAGES["broken"] = {"BACKEND": f"{__name__}.NO_SUCH_NAME"}
    settings.BACKUPS_REMOTE = {"REPORT_REPLAY_WINDOW": 300}
    found = checks.run_checks(include_deployment_checks=True, databases=[])
    assert [m.id for m in found if m.id.startswith("backups_remote.")] == []


@pytest.mark.django_db
def test_disks_of_rows_are_checked_where_a_database_may_be_asked(settings):
    storage = {"BACKEND": S3_BACKEND, "OPTIONS": {}}
    settings.STORAGES = {**settings.STORAGES, "by-a-server": storage}
    settings.BACKUPS_REMOTE = {"REPORT_REPLAY_WINDOW": 300}
    ServerFactory(disk="by-a-server", node=NodeFactory(disk="gone"))
    ServerFactory(disk="")

    def found(databases, *, deploy=True):
        every = checks.run_checks(include_deployment_checks=deploy, databases=databases)
        return ids(m for m in every if m.id.startswith("backups_remote."))

    assert sorted(found(["default"])) == ["backups_remote.E100", "backups_remote.E101"]
    # A row must not stop a migration.
    assert found(["default"], deploy=False) == []
    assert found([]) == []


@pytest.mark.django_db
@pytest.mark.parametrize("error", [ImproperlyConfigured, OperationalError, ProgrammingError])
def test_rows_that_cannot_be_read_name_no_disk(settings, error):
    settings.BACKUPS_REMOTE = {"REPORT_REPLAY_WINDOW": 300}
    NodeFactory(disk="gone")

    def fail(*_):
        raise error

    with connection.execute_wrapper(fail):
        assert ours.check_connections(None, databases=["default"]) == []
    assert ids(ours.check_connections(None, databases=["default"])) == ["backups_remote.E100"]


def test_e100_any_exception_while_building_a_disk(settings):
    with_disk(settings, backend=f"{__name__}.NotForBackups")
    (error,) = ours.check_disks(None)
    assert error.id == "backups_remote.E100"
    assert "secret" not in error.msg
    with pytest.raises(DiskNotConfigured) as caught:
        get_backend("s3")
    assert isinstance(caught.value.__cause__, EndpointConnectionError)


def test_every_backend_is_checked(settings):
    with_disk(settings)
    settings.BACKUPS_REMOTE = {"BACKENDS": {"s3": "backups_remote.storage.s3.S3Backend"}}
    assert ids(ours.check_disks(None)) == ["backups_remote.E101"]


@pytest.mark.parametrize(
    "storage", [{}, {"BACKEND": None}, {"BACKEND": f"{__name__}.fails_to_load"}, None]
)
def test_alias_that_cannot_be_imported_is_not_a_disk(settings, storage):
    settings.STORAGES = {**settings.STORAGES, "broken": storage}
    assert "broken" not in configured_disks()
    assert found_for(settings, {}) == []


def __getattr__(name):
    """As a storage module whose client library is not there."""
    if name == "fails_to_load":
        raise ImproperlyConfigured("Could not load the bindings.")
    raise AttributeError(name)


def test_w101_a_disk_on_amazon_names_its_region(settings, no_region):
    with_disk(settings, bucket_name="b", region_name=None)
    (warning,) = ours.check_disks(None)
    assert warning.id == "backups_remote.W101"
    assert warning.level == checks.WARNING
    assert "region_name" in warning.hint


@pytest.mark.parametrize(
    "options",
    [
        {"region_name": "eu-central-1"},
        {"endpoint_url": "http://127.0.0.1:8333"},
        {"client_config": Config(region_name="eu-central-1")},
        {"backend": f"{__name__}.OwnSession"},
        {"session_profile": "unknown"},
    ],
)
def test_a_region_may_be_named_by_the_options(settings, no_region, options):
    with_disk(settings, **{"bucket_name": "b", "region_name": None, **options})
    assert ours.check_disks(None) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:8333"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:8333"),
    ],
)
def test_a_region_may_be_named_by_the_environment(settings, no_region, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with_disk(settings, bucket_name="b", region_name=None)
    assert ours.check_disks(None) == []


def test_a_region_may_be_named_by_the_projects_settings(settings, no_region):
    settings.AWS_S3_REGION_NAME = "eu-central-1"
    settings.STORAGES = {
        **settings.STORAGES,
        "s3": {"BACKEND": S3_BACKEND, "OPTIONS": {"bucket_name": "b"}},
    }
    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3"}
    assert ours.check_disks(None) == []


def test_store_is_asked_despite_a_warning(settings, no_region, monkeypatch):
    with_disk(settings, bucket_name="b", region_name=None)
    monkeypatch.setattr(S3Backend, "check_connection", lambda self: [checks.Info("asked")])
    assert ours.check_connections(None) == [checks.Info("asked")]


def test_w001_daemons_must_not_be_redirected(settings):
    settings.SECURE_SSL_REDIRECT = True
    (warning,) = ours.check_redirect(None)
    assert warning.id == "backups_remote.W001"
    settings.SECURE_REDIRECT_EXEMPT = [r"^api/remote/"]
    assert ours.check_redirect(None) == []


@pytest.mark.django_db
def test_the_checks_are_registered(settings, capsys):
    settings.BACKUPS_REMOTE = {"TYPO": 1}
    with pytest.raises(Exception, match=r"backups_remote\.E002"):
        call_command("check")
