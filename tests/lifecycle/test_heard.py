"""When a node was heard last is noted once a minute."""

import datetime as dt

import pytest
from django.utils import timezone

from backups_remote import lifecycle
from backups_remote.models import Node
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

pytestmark = pytest.mark.django_db
SECOND = dt.timedelta(seconds=1)


@pytest.fixture
def backup_of_node():
    node = NodeFactory(heard_at=None)
    return node, BackupFactory(server=ServerFactory(node=node))


def heard(node):
    return Node.objects.get(pk=node.pk).heard_at


@pytest.mark.parametrize("ago", [None, 61 * SECOND, dt.timedelta(days=-2)], ids=str)
def test_call_is_noted(ago):
    before = timezone.now()
    node = NodeFactory(heard_at=None if ago is None else before - ago)
    lifecycle.node_heard(node)
    assert before <= heard(node) <= timezone.now()
    assert node.heard_at == heard(node)


@pytest.mark.parametrize("ago", [50 * SECOND, -5 * SECOND], ids=str)
def test_next_call_within_a_minute_writes_nothing(ago, django_assert_num_queries):
    node = NodeFactory(heard_at=timezone.now() - ago)
    with django_assert_num_queries(0):
        lifecycle.node_heard(node)
    assert heard(node) == node.heard_at


@pytest.mark.parametrize("status", [200, 404])
def test_every_call_counts_as_a_sign_of_life(client, memory, backup_of_node, status):
    node, backup = backup_of_node
    uuid = backup.uuid if status == 200 else "0" * 8 + str(backup.uuid)[8:]
    answer = client.get(
        f"/api/remote/backups/{uuid}?size=1000",
        headers={"Authorization": f"Bearer {node.bearer_token}"},
    )
    assert answer.status_code == status
    assert timezone.now() - heard(node) < 10 * SECOND


def test_stranger_is_not_heard(client, memory, backup_of_node):
    node, backup = backup_of_node
    answer = client.get(
        f"/api/remote/backups/{backup.uuid}?size=1000",
        headers={"Authorization": f"Bearer {node.token_id}.wrong"},
    )
    assert answer.status_code == 401
    assert heard(node) is None
