"""The admin in a real browser, with the store behind it. ``SCREENSHOTS=1`` takes the README's."""

import datetime as dt
import os
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import expect

from backups_remote.models import Backup, Node
from tests.admin.browser import LOOKS, MARKS, fits, picture, row_of, run, see_list, theme

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SCREENSHOTS = os.environ.get("SCREENSHOTS") == "1"

pytestmark = MARKS


def looks_of_the_breadcrumbs(page):
    """How Django's breadcrumbs look; None in another theme, which has its own.

    Ours are a list, as Django's are since 6.1. On Django 5.2 they are 4 px higher than its own.
    """
    if page.locator("nav > .breadcrumbs").count() == 0:
        return None
    return page.locator("nav > .breadcrumbs").evaluate(
        """bar => [
            [36, 40].includes(bar.offsetHeight) || bar.offsetHeight,
            ...["color", "backgroundColor", "padding", "fontSize"].map(
                name => getComputedStyle(bar)[name]
            ),
        ]"""
    )


@pytest.mark.parametrize("page", LOOKS[::2], indirect=True, ids=str)
def test_list(page, host, silent_upload, stored_backup, tmp_path, request):
    see_list(page)

    expect(page.locator("#result_list tbody tr")).to_have_count(13)
    for state in Backup.State:
        expect(page.locator(f".backup-state[data-state={state}]").first).to_contain_text(
            str(state.label)
        )
    theme.toggle_navigation(page)
    shown = {("stock", "light"): "admin.png", ("unfold", "dark"): "admin-list.png"}
    name = shown.get((settings.ADMIN_THEME, request.node.callspec.params["page"][0]))
    picture(page, IMAGES / name if SCREENSHOTS and name else tmp_path / "list.png")


def test_filter_and_search(page, host, silent_upload):
    see_list(page)

    theme.filter(page, "state", "Uploading")
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    page.locator("#searchbar").fill("ashlands")
    theme.submit_search(page)
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(row_of(page, "Before the Ashlands")).to_be_visible()

    see_list(page)
    page.locator("#searchbar").fill(silent_upload.uuid.hex)
    page.locator("#searchbar").press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    row_of(page, "Before the Ashlands").get_by_role("link").click()
    expect(page.get_by_text(str(silent_upload.uuid), exact=True)).to_be_visible()


def test_lock(page, host):
    see_list(page)

    run(page, "lock", "Before ATM 4.2")

    expect(page.get_by_text("1 backup was locked.")).to_be_visible()
    expect(row_of(page, "Before ATM 4.2")).to_contain_text("Locked")
    assert Backup.objects.get(name="Before ATM 4.2").is_locked


def test_expire_a_stale_upload(page, silent_upload, open_uploads):
    assert len(open_uploads()) == 1
    see_list(page)

    run(page, "expire", "Before the Ashlands")
    page.get_by_role("button", name="Expire now").click()

    expect(page.get_by_text("1 backup: 1 failed.")).to_be_visible()
    expect(row_of(page, "Before the Ashlands")).to_contain_text("Failed")
    assert open_uploads() == []


def test_delete_after_confirmation(page, stored_backup, s3, store, tmp_path):
    see_list(page)
    looks = looks_of_the_breadcrumbs(page)

    run(page, "delete_selected", "Before hardmode", "Season 3, final day")
    expect(page.get_by_text("1 backup and its archive will be deleted.")).to_be_visible()
    expect(page.get_by_text("The backup is locked.")).to_be_visible()
    assert looks_of_the_breadcrumbs(page) == looks
    picture(page, tmp_path / "delete.png")
    page.get_by_role("link", name="No, take me back").click()
    expect(row_of(page, "Before hardmode")).to_be_visible()

    see_list(page)
    run(page, "delete_selected", "Before hardmode")
    page.get_by_role("button", name=re.compile("Yes")).click()

    expect(page.get_by_text("1 backup was deleted.")).to_be_visible()
    expect(row_of(page, "Before hardmode")).to_have_count(0)
    found = s3.list_objects_v2(Bucket=store.bucket, Prefix=stored_backup.object_key)
    assert found["KeyCount"] == 0


def test_page_of_a_backup(page, stored_backup, tmp_path):
    see_list(page)

    row_of(page, "Before hardmode").get_by_role("link").click()

    expect(page.locator(".backup-state")).to_contain_text("Completed")
    is_shown = SCREENSHOTS and settings.ADMIN_THEME == "stock"
    picture(page, (IMAGES if is_shown else tmp_path) / "admin-backup.png", whole=True)
    theme.show_group(page, "Archive")
    expect(page.get_by_text("8.0 MB (8,388,608 bytes)").first).to_be_visible()
    expect(page.get_by_text(stored_backup.object_key)).to_be_hidden()
    theme.show_group(page, "In the store")
    expect(page.get_by_text(stored_backup.object_key)).to_be_visible()
    theme.show_group(page, "General")
    page.locator("#id_name").fill("Before hardmode, kept")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(row_of(page, "Before hardmode, kept")).to_be_visible()
    row_of(page, "Before hardmode, kept").get_by_role("link").click()
    expect(page.locator("#id_name")).to_have_value("Before hardmode, kept")
    picture(page, tmp_path / "detail.png")


def test_page_that_is_edited_is_not_loaded_again(page, host):
    backup = Backup.objects.pending().get()
    page.goto(f"/admin/backups_remote/backup/{backup.pk}/change/")
    page.locator("#id_name").fill("Half typed")
    notice = page.get_by_text("The backup has changed.")
    expect(notice).to_be_hidden()

    assert backup.fail("said by the test")

    expect(notice).to_be_visible(timeout=15_000)
    expect(page.locator("#id_name")).to_have_value("Half typed")
    page.get_by_role("link", name="Reload the page").click()
    expect(page.locator("#id_name")).to_have_value(backup.name)
    expect(page.locator(".backup-state")).to_contain_text("Failed")


@pytest.mark.parametrize("page", LOOKS, indirect=True, ids=str)
def test_forget_on_unconfigured_disk(page, stranded_backup, tmp_path):
    others = set(Backup.objects.exclude(pk=stranded_backup.pk))
    page.goto(f"/admin/backups_remote/backup/{stranded_backup.pk}/delete/")
    expect(page.get_by_text("None of these backups can be deleted now.")).to_be_visible()
    expect(page.get_by_text("Its disk is not configured")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name=re.compile("Yes"))).to_have_count(0)
    picture(page, tmp_path / "refused.png")
    assert fits(page)
    page.goto(f"/admin/backups_remote/backup/{stranded_backup.pk}/change/")
    picture(page, tmp_path / "page.png")

    page.get_by_role("link", name="Forget").click()
    expect(page.get_by_text("The disk old-bucket is not configured")).to_be_visible()
    picture(page, tmp_path / "forget.png")
    assert fits(page)
    page.get_by_role("link", name="No, take me back").click()
    expect(page.locator("#id_name")).to_have_value("Season 2")

    page.get_by_role("link", name="Forget").click()
    page.get_by_label("UUID of the backup").fill(str(next(iter(others)).uuid))
    page.get_by_role("button", name="Forget this backup").click()
    expect(page.get_by_text("This is not the UUID of this backup.")).to_be_visible()
    picture(page, tmp_path / "wrong.png")
    assert fits(page)
    assert Backup.objects.filter(pk=stranded_backup.pk).exists()

    page.get_by_label("UUID of the backup").fill(str(stranded_backup.uuid))
    page.get_by_label("UUID of the backup").press("Enter")
    expect(page.get_by_text("Season 2 was forgotten.")).to_be_visible()
    expect(row_of(page, "Season 2")).to_have_count(0)
    assert set(Backup.objects.all()) == others


@pytest.mark.parametrize("page", LOOKS, indirect=True, ids=str)
def test_unverified_badge_and_refusal(page, host, tmp_path):
    Backup.objects.filter(is_recovered=True).update(
        refused_at=timezone.now(),
        refusal="size: 10415298970 is reported, the store holds 10415298969.",
        deletion_refused_at=timezone.now(),
        deletion_refusal=(
            "The store answered AccessDenied to the deletion of an object. The access key may lack "
            "s3:DeleteObject or, for a version, s3:DeleteObjectVersion, or the bucket keeps the "
            "object. It is retained until 2031-04-01 06:00 UTC."
        ),
        retained_until=timezone.now() + dt.timedelta(days=1000),
    )
    see_list(page)
    recovered = page.locator("#result_list tbody tr").filter(has_text="Unverified")
    expect(recovered).to_have_count(1)
    expect(recovered).to_contain_text("Completed")
    picture(page, tmp_path / "list.png")

    recovered.get_by_role("link").first.click()
    expect(page.locator(".backup-unverified")).to_have_text("Unverified")
    theme.show_group(page, "Report and end")
    expect(page.get_by_text("is reported, the store holds")).to_be_visible()
    expect(page.get_by_text("It is retained until 2031")).to_be_visible()
    picture(page, tmp_path / "unverified.png", whole=True)
    assert fits(page)


def test_added_nodes_page_explains_how_to_get_a_token(page, live_server):
    page.goto("/admin/backups_remote/node/add/")
    page.locator("#id_name").fill("fra-1")
    page.get_by_role("button", name="Save and continue editing").click()

    expect(page.get_by_text("was added successfully")).to_be_visible()
    node = Node.objects.get()
    command = f"manage.py create_node --rotate --remote {live_server.url} fra-1"
    commands = page.get_by_text(command, exact=True)
    expect(commands).to_have_count(2)  # in the message and on the page
    expect(page.get_by_text(node.token_id)).to_be_visible()
    for secret in (node.token, node.encrypted_token):
        assert secret not in page.content()
