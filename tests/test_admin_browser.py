"""The admin in a real browser, with the store behind it. ``SCREENSHOTS=1`` takes the README's."""

import datetime as dt
import os
import re
import secrets
import shutil
from pathlib import Path

import pytest
import requests
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect, sync_playwright

from backups_remote import lifecycle
from backups_remote.models import Backup, Node
from tests.factories import BackupFactory, NodeFactory, ServerFactory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
IMAGES = Path(__file__).parent.parent / "docs" / "images"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
MIB = 1024**2
GIB = 1024**3
PASSWORD = secrets.token_urlsafe()
SCREENSHOTS = os.environ.get("SCREENSHOTS") == "1"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("REQUIRE_BROWSER") != "1",
        reason="there is no chromium on the PATH",
    ),
]


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "REQUIRE_BROWSER=1, but there is no chromium on the PATH"
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # Playwright's event loop makes Django take this thread for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield chromium
        chromium.close()


@pytest.fixture(params=["light"])
def page(browser, live_server, request):
    User.objects.create_superuser("operator", password=PASSWORD)
    context = browser.new_context(
        base_url=live_server.url,
        viewport={"width": 1280, "height": 860},
        color_scheme=request.param,
        locale="en-US",
    )
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda r: complaints.append(r.url) if r.status >= 400 else None)
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.goto("/admin/")
    page.get_by_label("Username").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
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
def stale(host):
    """An upload whose node fell silent after the first of its three parts."""
    backup = host("Valheim", "Before the Ashlands", dt.timedelta(days=1))
    put_up(backup, 11 * MIB, parts=1)
    return backup


@pytest.fixture
def whole(host):
    """A backup whose archive is in the store."""
    backup = host("Terraria", "Before hardmode", dt.timedelta(days=12))
    put_up(backup, 8 * MIB, parts=2)
    list(lifecycle.expire(Backup.objects.filter(pk=backup.pk)))
    Backup.objects.filter(pk=backup.pk).update(is_recovered=False)
    backup.refresh_from_db()
    assert backup.state is Backup.State.COMPLETED
    return backup


def see_list(page):
    page.goto("/admin/backups_remote/backup/")
    expect(page.get_by_role("heading", name="Select backup to change")).to_be_visible()


def row_of(page, name):
    return page.locator("#result_list tbody tr").filter(has_text=name)


def run(page, action, *names):
    for name in names:
        row_of(page, name).get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option(action)
    page.get_by_role("button", name="Go", exact=True).click()


def picture(page, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    page.wait_for_load_state()
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=path, animations="disabled")
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_list(page, host, stale, whole, tmp_path, request):
    see_list(page)

    expect(page.locator("#result_list tbody tr")).to_have_count(13)
    for state in Backup.State:
        expect(page.locator(f".backup-state[data-state={state}]").first).to_contain_text(
            str(state.label)
        )
    page.get_by_role("button", name="Toggle navigation").click()
    light = request.node.callspec.params["page"] == "light"
    picture(page, (IMAGES if SCREENSHOTS and light else tmp_path) / "admin.png")


def test_filter_and_search(page, host, stale):
    see_list(page)

    page.get_by_role("link", name="Uploading", exact=True).click()
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    page.locator("#searchbar").fill("ashlands")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(row_of(page, "Before the Ashlands")).to_be_visible()

    see_list(page)
    page.locator("#searchbar").fill(stale.uuid.hex)
    page.locator("#searchbar").press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    row_of(page, "Before the Ashlands").get_by_role("link").click()
    expect(page.get_by_text(str(stale.uuid), exact=True)).to_be_visible()


def test_lock(page, host):
    see_list(page)

    run(page, "lock", "Before ATM 4.2")

    expect(page.get_by_text("1 backup was locked.")).to_be_visible()
    expect(row_of(page, "Before ATM 4.2")).to_contain_text("Locked")
    assert Backup.objects.get(name="Before ATM 4.2").is_locked


def test_expire_a_stale_upload(page, stale, open_uploads):
    assert len(open_uploads()) == 1
    see_list(page)

    run(page, "expire", "Before the Ashlands")

    expect(page.get_by_text("1 backup: 1 failed.")).to_be_visible()
    expect(row_of(page, "Before the Ashlands")).to_contain_text("Failed")
    assert open_uploads() == []


def test_delete_after_asking(page, whole, s3, store, tmp_path):
    see_list(page)

    run(page, "delete_selected", "Before hardmode", "Season 3, final day")
    expect(page.get_by_text("1 backup and its archive will be deleted.")).to_be_visible()
    expect(page.get_by_text("The backup is locked.")).to_be_visible()
    picture(page, tmp_path / "delete.png")
    page.get_by_role("link", name="No, take me back").click()
    expect(row_of(page, "Before hardmode")).to_be_visible()

    see_list(page)
    run(page, "delete_selected", "Before hardmode")
    page.get_by_role("button", name=re.compile("Yes")).click()

    expect(page.get_by_text("1 backup was deleted.")).to_be_visible()
    expect(row_of(page, "Before hardmode")).to_have_count(0)
    found = s3.list_objects_v2(Bucket=store.bucket, Prefix=whole.object_key)
    assert found["KeyCount"] == 0


def test_page_of_a_backup(page, whole, tmp_path):
    see_list(page)

    row_of(page, "Before hardmode").get_by_role("link").click()

    expect(page.locator(".backup-state")).to_contain_text("Completed")
    expect(page.get_by_text("8.0 MB (8,388,608 bytes)").first).to_be_visible()
    expect(page.get_by_text(whole.object_key)).to_be_hidden()
    page.get_by_text("In the store").click()
    expect(page.get_by_text(whole.object_key)).to_be_visible()
    page.get_by_label("Name:").fill("Before hardmode, kept")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(row_of(page, "Before hardmode, kept")).to_be_visible()
    row_of(page, "Before hardmode, kept").get_by_role("link").click()
    expect(page.get_by_label("Name:")).to_have_value("Before hardmode, kept")
    picture(page, tmp_path / "detail.png")


def test_node_is_added_and_its_page_tells_how_to_get_a_token(page):
    page.goto("/admin/backups_remote/node/add/")
    page.get_by_label("Name:").fill("fra-1")
    page.get_by_role("button", name="Save and continue editing").click()

    expect(page.get_by_text("was added successfully")).to_be_visible()
    node = Node.objects.get()
    commands = page.get_by_text("manage.py create_node --rotate fra-1", exact=True)
    expect(commands).to_have_count(2)  # in the message and on the page
    expect(page.get_by_text(node.token_id)).to_be_visible()
    for secret in (node.token, node.encrypted_token):
        assert secret not in page.content()
