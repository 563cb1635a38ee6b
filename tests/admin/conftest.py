"""Backups and actions for the tests of the admin, and the pages of a browser."""

from __future__ import annotations

import datetime as dt
import os
import secrets

import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import sync_playwright

from backups_remote import lifecycle
from backups_remote.models import Backup
from tests.admin.browser import CHROMIUM, FLAGS, PASSWORD
from tests.admin.pages import LIST, backup_in
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

MIB = 1024**2
GIB = 1024**3
State = Backup.State


@pytest.fixture
def act(admin_client):
    def act(action, backups, *, client=admin_client, query="", **fields):
        return client.post(
            LIST + query,
            {"action": action, "_selected_action": [b.pk for b in backups], **fields},
            follow=True,
        )

    return act


@pytest.fixture
def down(settings):
    """A disk whose store does not answer."""
    options = {
        "bucket_name": "backups",
        "endpoint_url": "http://127.0.0.1:9",
        "region_name": "us-east-1",
        "access_key": "key",
        "secret_key": "very-secret-indeed",
    }
    settings.STORAGES = {
        **settings.STORAGES,
        "down": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options},
    }
    return "down"


@pytest.fixture
def uploading(backup):
    """A backup with one of its three parts on the real store."""
    ticket = lifecycle.request_upload(backup, 11 * MIB)
    requests.put(ticket.urls[0], data=os.urandom(5 * MIB), timeout=60).raise_for_status()
    return backup


@pytest.fixture
def completed_backup(server, disk):
    """A completed backup on the real store."""
    backup = BackupFactory(server=server, disk=disk, name="Whole")
    body = os.urandom(MIB)
    ticket = lifecycle.request_upload(backup, len(body))
    requests.put(ticket.urls[0], data=body, timeout=60).raise_for_status()
    assert [o.action for o in lifecycle.expire(Backup.objects.filter(pk=backup.pk))] == [
        "recovered"
    ]
    backup.refresh_from_db()
    return backup


@pytest.fixture
def unconfigured_backup(server):
    """A whole backup on a disk that the settings do not name any more."""
    return backup_in(
        State.COMPLETED, server=server, disk="retired", object_key="a/key.tar.gz", name="Stranded"
    )


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "REQUIRE_BROWSER=1, but there is no chromium on the PATH"
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # Playwright's event loop makes Django take this thread for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield chromium
        chromium.close()


@pytest.fixture(params=[("light", 1280)], ids=str)
def page(browser, live_server, request):
    """The page of a superuser, in a colour scheme and a width."""
    client = Client()
    client.force_login(User.objects.create_superuser("operator", password=PASSWORD))
    scheme, width = request.param
    context = browser.new_context(
        base_url=live_server.url,
        viewport={"width": width, "height": 860},
        color_scheme=scheme,
        locale="en-US",
    )
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}
    context.add_cookies([cookie])
    context.set_default_timeout(10_000)
    page = context.new_page()
    complaints = []

    def listen(said):
        # What could not be loaded is told with its address, below; the rest is a browser's own.
        if said.type == "error" and not said.text.startswith("Failed to load resource"):
            complaints.append(said.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda r: complaints.append(r.url) if r.status >= 400 else None)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def host(disk):
    """A dozen backups as a host of game servers has them, three of them really in the store."""
    nodes = {name: NodeFactory(name=name) for name in ("fra-1", "fra-2", "ams-1", "nyc-1")}
    servers = {
        name: ServerFactory(name=name, node=nodes[node])
        for name, node in (
            ("Survival SMP", "fra-1"),
            ("Skyblock", "fra-1"),
            ("ATM 10", "fra-2"),
            ("Valheim", "ams-1"),
            ("Rust Weekly", "nyc-1"),
            ("Terraria", "ams-1"),
        )
    }
    now = timezone.now()

    def row(server, name, ago, **fields):
        created = now - ago
        return BackupFactory(
            server=servers[server], name=name, **{"disk": disk, "created_at": created, **fields}
        )

    def done(ago, size, **fields):
        ended = {"completed_at": now - ago, "is_successful": True, "size": size}
        return {**ended, "checksum": f"sha1:{secrets.token_hex(20)}", **fields}

    def started(size, ago):
        return {
            "upload_id": secrets.token_hex(16),
            "object_key": "backups/archive.tar.gz",
            "upload_size": size,
            "part_size": 128 * MIB,
            "upload_started_at": now - ago,
        }

    hours, days = (lambda n: dt.timedelta(hours=n)), (lambda n: dt.timedelta(days=n))
    m = lambda n: dt.timedelta(minutes=n)  # noqa: E731
    row("Survival SMP", "Before 1.21.8", m(1))
    row("ATM 10", "Nightly", m(9), **started(int(18.4 * GIB), m(8)))
    row(
        "Rust Weekly",
        "Before the wipe",
        m(26),
        **started(int(6.2 * GIB), m(25)),
        reported_at=now,
        size=int(6.2 * GIB),
        claimed_until=now + hours(1),
    )
    row("Skyblock", "Nightly", hours(3), **done(hours(3), int(1.3 * GIB)))
    row("Valheim", "Nightly", hours(3), **done(hours(3), 412 * MIB))
    row("Terraria", "Nightly", hours(3), disk="wings", **done(hours(3), 38 * MIB))
    row("Survival SMP", "Nightly", hours(4), **done(hours(4), int(9.7 * GIB), is_recovered=True))
    row("Rust Weekly", "Nightly", hours(5), completed_at=now)
    row(
        "Skyblock",
        "Season 3, final day",
        days(6),
        **done(days(6), int(1.1 * GIB), is_locked=True),
    )
    row("ATM 10", "Before ATM 4.2", days(9), **done(days(9), int(17.9 * GIB)))
    row("Rust Weekly", "Old wipe", days(34), completed_at=now, deletion_started_at=now)
    return row


def put_up(backup, size, parts):
    """Begin ``backup``'s upload of ``size`` bytes for real, and put its first parts up."""
    ticket = lifecycle.request_upload(backup, size)
    for number, url in enumerate(ticket.urls[:parts]):
        part = os.urandom(min(ticket.part_size, size - number * ticket.part_size))
        requests.put(url, data=part, timeout=60).raise_for_status()


@pytest.fixture
def silent_upload(host):
    """An upload whose node fell silent after the first of its three parts."""
    backup = host("Valheim", "Before the Ashlands", dt.timedelta(days=1))
    put_up(backup, 11 * MIB, parts=1)
    return backup


@pytest.fixture
def stored_backup(host):
    """A backup of the host whose archive is in the store."""
    backup = host("Terraria", "Before hardmode", dt.timedelta(days=12))
    put_up(backup, 8 * MIB, parts=2)
    list(lifecycle.expire(Backup.objects.filter(pk=backup.pk)))
    Backup.objects.filter(pk=backup.pk).update(is_recovered=False)
    backup.refresh_from_db()
    assert backup.state is Backup.State.COMPLETED
    return backup


@pytest.fixture
def stranded_backup(host):
    """A whole backup of the host on a disk that the settings do not name any more."""
    ended = {"completed_at": timezone.now(), "is_successful": True, "size": 3 * GIB}
    ago = dt.timedelta(days=90)
    return host("Skyblock", "Season 2", ago, disk="old-bucket", checksum="sha1:0", **ended)
