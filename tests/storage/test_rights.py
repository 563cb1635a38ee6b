"""Access keys that may not list uploads."""

import datetime as dt
import uuid

import pytest

from backups_remote import checks as ours
from backups_remote import lifecycle
from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage import get_backend
from backups_remote.storage.s3 import differences
from tests.support.factories import BackupFactory
from tests.support.http import change_disk_options
from tests.support.proxy import Fault, Proxy

REFUSALS = [(403, "AccessDenied"), (501, "NotImplemented")]


@pytest.fixture
def proxy(store, disk, settings):
    with Proxy(store.endpoint) as between:
        change_disk_options(settings, endpoint_url=between.url)
        yield between


def refusing(answer):
    return Fault("list_uploads", forward=False, answer=answer, times=99)


@pytest.mark.parametrize("answer", REFUSALS, ids=lambda answer: answer[1])
def test_list_of_parts_shows_whether_an_upload_is_open(proxy, disk, answer):
    backend = get_backend(disk)
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    upload_id = backend.create_upload(key, "mark")
    with proxy.going_wrong(refusing(answer)):
        assert backend.upload_exists(key, upload_id)
        backend.abort_upload(key, upload_id)
        assert not backend.upload_exists(key, upload_id)
        for listing in (lambda: list(backend.open_uploads()), lambda: backend.open_uploads_of(key)):
            with pytest.raises(StorageUnavailable, match=answer[1]):
                listing()


def test_another_fault_of_the_list_of_parts_is_inconclusive(proxy, disk):
    backend = get_backend(disk)
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    upload_id = backend.create_upload(key, "mark")
    with (
        proxy.going_wrong(refusing((500, "InternalError"))),
        pytest.raises(StorageUnavailable, match="InternalError"),
    ):
        backend.upload_exists(key, upload_id)
    assert proxy.count()["list_parts"] == 0


@pytest.mark.django_db(transaction=True)
def test_a_node_that_asks_again_gets_the_same_upload(proxy, disk, server):
    backup = BackupFactory(server=server, disk=disk)
    lifecycle.request_upload(backup, 7)
    backup.refresh_from_db()
    first = backup.upload_id
    with proxy.going_wrong(refusing(REFUSALS[0])):
        lifecycle.request_upload(backup, 7)
    backup.refresh_from_db()
    assert backup.upload_id == first


@pytest.mark.parametrize("answer", REFUSALS, ids=lambda answer: answer[1])
def test_w104_a_key_that_may_not_list_uploads(proxy, disk, answer):
    assert ours.check_connections(None) == []
    with proxy.going_wrong(refusing(answer)):
        (warning,) = ours.check_connections(None)
    assert warning.id == "backups_remote.W104"
    assert answer[1] in warning.msg


@pytest.mark.parametrize("answer", [(503, "SlowDown"), (404, "NoSuchUpload")], ids=str)
def test_w104_is_about_that_right_only(proxy, disk, answer):
    with proxy.going_wrong(refusing(answer)):
        assert ours.check_connections(None) == []


# W103


def rule(days, **where):
    return {
        "ID": f"r{uuid.uuid4().hex[:8]}",
        "Status": "Enabled",
        **(where or {"Filter": {"Prefix": ""}}),
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    }


#: STALE_AFTER and the life of URLs add up to 36 hours.
BETWEEN = {"STALE_AFTER": dt.timedelta(hours=12), "URL_LIFESPAN": dt.timedelta(hours=24)}


@pytest.fixture
def w103(settings, disk, monkeypatch):
    """Checks a disk whose store has this Server header and whose bucket has these rules."""

    def check(server, rules):
        settings.BACKUPS_REMOTE = {"DEFAULT_DISK": disk, **BETWEEN}
        client = get_backend(disk)._client
        head = client.head_bucket

        def head_bucket(**arguments):
            answer = head(**arguments)
            answer["ResponseMetadata"]["HTTPHeaders"]["server"] = server
            return answer

        monkeypatch.setattr(client, "head_bucket", head_bucket)
        monkeypatch.setattr(
            client, "get_bucket_lifecycle_configuration", lambda **_: {"Rules": rules}
        )
        return [m for m in ours.check_connections(None) if m.id == "backups_remote.W103"]

    return check


@pytest.mark.parametrize(
    ("server", "rules", "hours"),
    [
        ("MinIO", [rule(8)], 24),
        ("MinIO", [rule(1)], 24),
        ("Keeper", [rule(1)], 24),
        ("Keeper", [rule(8)], 30),
        ("nginx", [rule(1)], 24),
        ("nginx", [rule(8)], None),
        ("nginx", [], None),
    ],
)
def test_w103_the_shorter_of_rule_and_store_counts(w103, monkeypatch, server, rules, hours):
    longer = {**differences.DROPS_UPLOADS_AFTER, "keeper": dt.timedelta(hours=30)}
    monkeypatch.setattr(differences, "DROPS_UPLOADS_AFTER", longer)
    found = w103(server, rules)
    assert [f"after {hours} hours" in message.msg for message in found] == [True] * bool(hours)
    assert all("SILENCED_SYSTEM_CHECKS" in message.hint for message in found)


@pytest.mark.parametrize(
    ("where", "is_ours"),
    [
        ({"Filter": {"Prefix": "{location}/"}}, True),
        ({"Filter": {"Prefix": "{location}"}}, True),
        ({"Filter": {"Prefix": "{location}/a"}}, True),
        ({"Filter": {"And": {"Prefix": "{location}/", "Tags": []}}}, True),
        ({"Prefix": "{location}/"}, True),
        ({"Filter": {}}, True),
        ({"Filter": {"Prefix": "media/"}}, False),
        ({"Filter": {"And": {"Prefix": "media/", "Tags": []}}}, False),
        ({"Prefix": "media/"}, False),
    ],
    ids=str,
)
def test_w103_a_rule_for_another_prefix_does_not_count(w103, location, where, is_ours):
    def here(value):
        if isinstance(value, dict):
            return {name: here(inner) for name, inner in value.items()}
        return value.format(location=location) if isinstance(value, str) else value

    assert bool(w103("nginx", [rule(1, **here(where))])) is is_ours
