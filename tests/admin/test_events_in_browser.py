"""The timeline and the list of events in the browser: widths, colours, the keyboard."""

from __future__ import annotations

import datetime as dt

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import expect

from backups_remote import lifecycle
from backups_remote.actors import ActorKind
from backups_remote.models import Backup, EventKind
from tests.admin.browser import LOOKS, MARKS, fits, picture
from tests.admin.history import EVENTS, add_event
from tests.admin.pages import backup_in, page_of
from tests.support.factories import NodeFactory, ServerFactory

pytestmark = [pytest.mark.once, pytest.mark.themes, *MARKS]

NAMES = {ActorKind.NODE: "fra-1", ActorKind.USER: "alice@example.com", ActorKind.COMMAND: "backup"}
LONG = 'the etag of part 4 is not the store\'s: "d41d8cd98f00b204e9800998ecf8427e" was reported'


def barriers(page, where):
    """What of a part of the page not everybody can read; the colours of the wide page only."""
    if page.viewport_size["width"] < 1000:
        return []
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = Axe().run(page, where, options).response["violations"]
    return [(fault["id"], node["html"]) for fault in found for node in fault["nodes"]]


@pytest.fixture
def eventful():
    """A failed backup with an event of each kind, an hour apart."""
    server = ServerFactory(name="Survival SMP", node=NodeFactory(name="fra-1"))
    backup = backup_in(
        Backup.State.FAILED,
        server=server,
        name="Nightly",
        failure="silent for 7 h: 3 of 12 parts had arrived",
    )
    start = timezone.now() - dt.timedelta(days=1)
    actors = list(ActorKind)
    for number, kind in enumerate(EventKind):
        actor = actors[number % len(actors)]
        add_event(
            backup,
            kind,
            at=start + dt.timedelta(hours=number),
            actor=actor,
            actor_name=NAMES.get(actor, ""),
            detail=LONG if number % 2 else "",
        )
    return backup


@pytest.mark.parametrize("page", LOOKS, indirect=True, ids=str)
def test_timeline_fits_and_is_filtered_by_the_keyboard(page, eventful, tmp_path):
    page.goto(page_of(eventful))
    entries = page.locator(".backup-timeline li")
    expect(entries).to_have_count(len(EventKind) + 1)
    picture(page, tmp_path / "page.png", whole=True)
    assert fits(page)
    assert barriers(page, ".backup-timeline") == []

    page.goto(f"{page_of(eventful)}?_changelist_filters=state%3Dfailed")
    if settings.ADMIN_THEME == "jazzmin":  # it replaces selects by a widget of its own
        page.locator("#backup-timeline-actor").select_option("user:alice@example.com", force=True)
    else:
        page.get_by_label("Who did it").focus()
        page.keyboard.type("by the user a")
        expect(page.get_by_label("Who did it")).to_have_value("user:alice@example.com")
    page.get_by_role("button", name="Show", exact=True).focus()
    page.keyboard.press("Enter")

    page.wait_for_url("**actor=user**")
    assert "_changelist_filters=state%3Dfailed" in page.url
    for entry in entries.all():
        expect(entry).to_contain_text("by the user alice@example.com")
    expect(entries.first).to_be_in_viewport()
    assert fits(page)


@pytest.mark.skipif("settings.ADMIN_THEME == 'unfold'", reason="its pages need JavaScript")
def test_timeline_is_filtered_without_javascript(browser, page, live_server, eventful):
    context = browser.new_context(
        base_url=live_server.url,
        java_script_enabled=False,
        storage_state=page.context.storage_state(),
    )
    try:
        plain = context.new_page()
        plain.goto(page_of(eventful))
        plain.locator("#backup-timeline-kind").select_option("failed")
        plain.get_by_role("button", name="Show", exact=True).click()
        expect(plain.locator(".backup-timeline li")).to_have_count(1)
    finally:
        context.close()


@pytest.mark.parametrize("page", LOOKS, indirect=True, ids=str)
def test_list_and_page_of_events_fit(page, eventful, tmp_path):
    gone = backup_in(Backup.State.COMPLETED, disk="retired", server=eventful.server)
    lifecycle.forget_backup(gone)

    page.goto(EVENTS)
    expect(page.locator(".backup-event")).to_have_count(len(EventKind) + 3)
    picture(page, tmp_path / "list.png", whole=True)
    assert fits(page)
    assert barriers(page, ".backup-event, .backup-event-backup, .field-moment .backup-quiet") == []

    page.locator(".field-backup a").first.click()
    expect(page.locator(".backup-event")).to_have_count(2)
    page.locator("th.field-moment a").first.click()
    expect(page.get_by_text(str(gone.uuid), exact=True)).to_be_visible()
    picture(page, tmp_path / "event.png", whole=True)
    assert fits(page)


def test_timeline_and_list_link_to_each_other(page, eventful):
    page.goto(page_of(eventful))

    page.get_by_role("link", name="The list of all its events").click()
    expect(page.locator(".backup-event")).to_have_count(len(EventKind) + 1)
    expect(page.locator("#searchbar")).to_have_value(str(eventful.uuid))
    page.locator(".field-backup a").first.click()

    expect(page.locator("#backup-timeline")).to_be_visible()
