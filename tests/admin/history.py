"""Events for the tests of the admin."""

from __future__ import annotations

import re
from html import unescape

from django.utils.html import strip_tags

from backups_remote.models import BackupEvent

EVENTS = "/admin/backups_remote/backupevent/"


def add_event(backup, kind, **fields):
    """An event of ``backup``; by nobody in particular unless ``fields`` say so."""
    return BackupEvent.objects.create(kind=kind, **{**backup.subject._asdict(), **fields})


def timeline_on(answer):
    """The HTML of the timeline on a backup's page; None if there is none."""
    assert answer.status_code == 200
    found = re.search(
        r'<section class="backup-timeline".*?</section>', answer.content.decode(), re.DOTALL
    )
    return found and found[0]


def entries_on(answer):
    """The text of each entry of the timeline, in the order of the page."""
    items = re.findall(r"<li>(.*?)</li>", timeline_on(answer), re.DOTALL)
    return [in_one_line(item) for item in items]


def in_one_line(html):
    return " ".join(unescape(strip_tags(html)).split())
