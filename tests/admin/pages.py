"""Addresses, rows and answers of the admin's pages."""

from __future__ import annotations

import datetime as dt
from html import unescape

from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from backups_remote.models import Backup, Server
from tests.support.factories import BackupFactory

MIB = 1024**2
LIST = "/admin/backups_remote/backup/"
State = Backup.State


def backup_in(state, **fields):
    """A row in ``state``; nothing of it is in a store."""
    now = timezone.now()
    upload = {
        "upload_id": "an-upload",
        "object_key": "a/key.tar.gz",
        "upload_size": 11 * MIB,
        "part_size": 5 * MIB,
        "upload_started_at": now,
    }
    of_state = {
        State.PENDING: {},
        State.UPLOADING: upload,
        State.REPORTED: {**upload, "reported_at": now, "size": 11 * MIB, "claimed_until": now},
        State.COMPLETED: {"completed_at": now, "is_successful": True, "size": 11 * MIB},
        State.FAILED: {"completed_at": now},
        State.DELETING: {"completed_at": now, "deletion_started_at": now},
    }[state]
    return BackupFactory(**{"disk": "wings", "name": f"a {state.value} one", **of_state, **fields})


def user_with(*codenames):
    user = User.objects.create_user("operator", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def page_of(backup, view="change"):
    return reverse(f"admin:backups_remote_backup_{view}", args=[backup.pk])


def listed(answer):
    assert answer.status_code == 200, answer
    return {backup.pk for backup in answer.context["cl"].result_list}


def said(answer):
    """The messages of the page that an action leads to."""
    return [str(message) for message in answer.context["messages"]]


def text(answer):
    return " ".join(unescape(strip_tags(answer.content.decode())).split())


def queries_of(client, url):
    with CaptureQueriesContext(
        connection,
    ) as context:
        answer = client.get(url)
    assert answer.status_code == 200
    return [query["sql"] for query in context.captured_queries]


def moment(*date, **time):
    value = dt.datetime(*date, **time)  # noqa: DTZ001
    return timezone.make_aware(value)


def rows():
    return list(Backup.objects.order_by("pk").values()), list(Server.objects.values())
