"""The page of one backup."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from backups_remote.models import Backup, Server
from tests.admin.pages import LIST, backup_in, page_of, text
from tests.support.factories import BackupFactory, NodeFactory, ServerFactory

pytestmark = pytest.mark.django_db

State = Backup.State


def test_page_of_a_backup(admin_client):
    backup = backup_in(
        State.UPLOADING, upload_mark="a-mark", ignored_files=["*.log", "<b>/"], name="Nightly"
    )

    answer = admin_client.get(page_of(backup))
    page = text(answer)

    assert "11.0 MB (11,534,336 bytes)" in page
    assert "3 of up to 5.0 MB" in page
    assert "*.log<b>/" in page
    assert "an-upload" in page
    assert "a-mark" not in answer.content.decode()
    assert str(backup.uuid) in page
    assert reverse("admin:backups_remote_server_change", args=[backup.server_id]) in (
        answer.content.decode()
    )
    assert 'data-state="uploading"' in answer.content.decode()


def test_page_of_a_streamed_upload(admin_client):
    page = text(admin_client.get(page_of(backup_in(State.UPLOADING, upload_size=None))))

    assert "Not known before the node's report: it streams the archive." in page
    assert "of 5.0 MB (5,242,880 bytes)" in page


@pytest.mark.parametrize("state", State)
def test_page_of_each_state(admin_client, state):
    answer = admin_client.get(page_of(backup_in(state)))

    assert answer.status_code == 200
    assert "None" not in text(answer)


def test_only_the_name_is_edited(admin_client):
    backup = backup_in(State.COMPLETED, checksum="sha1:abc")
    before = Backup.objects.filter(pk=backup.pk).values().get()
    other = ServerFactory()
    fields = {
        field.attname: other.pk if field.is_relation else "1" for field in Backup._meta.fields
    }

    answer = admin_client.post(page_of(backup), {**fields, "name": "Renamed", "state": "failed"})

    assert answer.status_code == 302
    after = Backup.objects.filter(pk=backup.pk).values().get()
    assert after.pop("updated_at") > before.pop("updated_at")
    assert {k: v for k, v in after.items() if before[k] != v} == {"name": "Renamed"}


@pytest.mark.parametrize(
    ("factory", "fields", "saved"),
    [
        (BackupFactory, {"name": "New"}, {"name", "updated_at"}),
        (ServerFactory, {"name": "New"}, {"name", "updated_at"}),
        (NodeFactory, {"name": "New"}, {"name", "updated_at"}),
    ],
)
def test_saving_does_not_overwrite_concurrent_changes(admin_client, factory, fields, saved):
    row = factory()
    url = reverse(f"admin:backups_remote_{row._meta.model_name}_change", args=[row.pk])
    form = {**fields, "url": "", "status": ""}
    if isinstance(row, Server):
        form["node"] = row.node_id

    with CaptureQueriesContext(connection) as context:
        assert admin_client.post(url, form).status_code == 302

    (update,) = [
        query["sql"]
        for query in context.captured_queries
        if re.match(rf"UPDATE .{row._meta.db_table}.", query["sql"])
    ]
    assert set(re.findall(r"[`\"](\w+)[`\"] = ", update.partition("WHERE")[0])) == saved


def test_backups_are_not_added(admin_client):
    assert admin_client.get(LIST + "add/").status_code == 403
    assert admin_client.post(LIST + "add/", {"name": "x"}).status_code == 403
    assert not Backup.objects.exists()
    assert "Add backup" not in text(admin_client.get(LIST))


def test_unverified_backups_are_marked_beside_their_state(admin_client):
    verified = backup_in(State.COMPLETED, checksum="sha1:abc", name="Verified")
    recovered = backup_in(State.COMPLETED, is_recovered=True, name="Recovered")
    without = backup_in(State.COMPLETED, name="Without a checksum")
    others = [backup_in(state) for state in State if state is not State.COMPLETED]

    content = admin_client.get(LIST).content.decode()

    badges = dict(re.findall(r"backup/(\d+)/change/.*?field-state[^>]*>(.*?)</td>", content))
    marked = {int(pk) for pk, badge in badges.items() if "Unverified" in strip_tags(badge)}
    assert badges.keys() == {str(b.pk) for b in (verified, recovered, without, *others)}
    assert marked == {recovered.pk, without.pk}
    for backup in (recovered, verified):
        page = text(admin_client.get(page_of(backup)))
        assert ("Completed Unverified" in page) == (backup == recovered)
        confirmation = text(admin_client.get(page_of(backup, "delete")))
        assert ("Completed Unverified" in confirmation) == (backup == recovered)


def test_refusal_of_the_last_report_is_on_the_page(admin_client, uploading, daemon):
    answer = daemon.report(uploading, b"too short", [])
    assert answer.status_code == 400

    def shown(backup):
        page = text(admin_client.get(page_of(backup)))
        # Django 6.1 puts the help before the value, 5.2 behind it.
        return page.replace(Backup._meta.get_field("refusal").help_text + " ", "")

    uploading.refresh_from_db()
    assert "were announced, the store holds" in uploading.refusal
    assert f"Reason of the refusal: {uploading.refusal}" in shown(uploading)
    assert re.search(r"Report refused: \w+\.? \d+, \d{4}", shown(uploading))
    assert "Reason of the refusal: -" in shown(backup_in(State.FAILED))


def test_refusal_is_shown_as_text(admin_client):
    backup = backup_in(State.FAILED, refusal="<script>x</script>", refused_at=timezone.now())

    assert "<script>x" not in admin_client.get(page_of(backup)).content.decode()


def test_reason_of_a_failure_is_shown_as_text_on_the_page_and_in_the_list(admin_client):
    backup = backup_in(State.FAILED, failure="silent for 7 h: <b>3</b> of 12 parts had arrived")
    kept = backup_in(State.COMPLETED, failure="of before it was completed after all")
    for page in (page_of(backup), LIST):
        html = admin_client.get(page).content.decode()
        assert "silent for 7 h: &lt;b&gt;3&lt;/b&gt; of 12 parts had arrived" in html
    assert kept.failure not in admin_client.get(LIST).content.decode()
