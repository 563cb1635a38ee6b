"""The catalogues are whole, and pages speak one language."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polib
import pytest
from django.urls import reverse
from django.utils import timezone, translation

import backups_remote
from backups_remote.admin.times import ago
from backups_remote.models import RESTORING, Backup, Server
from tests.admin.pages import LIST, backup_in, page_of, text
from tests.support.factories import NodeFactory, ServerFactory
from tests.support.http import CLOSED

LANGUAGES = {"de": "de", "fr": "fr", "es": "es", "pt-br": "pt_BR"}
PACKAGE = Path(backups_remote.__file__).parent
State = Backup.State


def catalogue(locale):
    return polib.pofile(str(PACKAGE / f"locale/{locale}/LC_MESSAGES/django.po"))


def texts(entries):
    return {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in entries}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """What the code and the templates say now."""
    if shutil.which("xgettext") is None and os.environ.get("REQUIRE_GETTEXT") != "1":
        pytest.skip("there is no xgettext on the PATH")
    copy = tmp_path_factory.mktemp("package") / "backups_remote"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("locale", "__pycache__"))
    (copy / "locale").mkdir()
    # The settings of the tests cannot be imported there, and are not needed.
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "--locale", "de", "--no-location"],
        cwd=copy,
        env=environment,
        check=True,
        capture_output=True,
    )
    return polib.pofile(str(copy / "locale/de/LC_MESSAGES/django.po"))


@pytest.mark.parametrize("locale", LANGUAGES.values())
def test_catalogue_has_every_text(extracted, locale):
    assert texts(catalogue(locale)) == texts(extracted)


@pytest.mark.parametrize("locale", LANGUAGES.values())
def test_every_text_is_translated(locale):
    po = catalogue(locale)
    assert [entry.msgid for entry in po.untranslated_entries()] == []
    assert [entry.msgid for entry in po.fuzzy_entries()] == []
    assert po.obsolete_entries() == []


def placeholders(said):
    return sorted(re.findall(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|<[^>]+>", said))


@pytest.mark.parametrize("locale", LANGUAGES.values())
def test_translations_keep_placeholders_and_marks(locale):
    for entry in catalogue(locale):
        if entry.msgid_plural:
            # "One" may leave its number out; Django fills what is there.
            for number, said in entry.msgstr_plural.items():
                allowed = placeholders(entry.msgid_plural)
                assert set(placeholders(said)) <= set(allowed), entry.msgid
                assert number == 0 or placeholders(said) == allowed, entry.msgid
            sources = (entry.msgid, *entry.msgstr_plural.values())
        else:
            assert placeholders(entry.msgstr) == placeholders(entry.msgid), entry.msgid
            sources = (entry.msgid, entry.msgstr)
        for said in sources[1:]:
            assert said[:1].isspace() == entry.msgid[:1].isspace(), entry.msgid
            assert said[-1:].isspace() == entry.msgid[-1:].isspace(), entry.msgid
            assert (said[-1] in ".?") == (entry.msgid[-1] in ".?"), entry.msgid


@pytest.mark.parametrize("locale", LANGUAGES.values())
def test_compiled_catalogue_is_the_written_one(locale):
    compiled = polib.mofile(str(PACKAGE / f"locale/{locale}/LC_MESSAGES/django.mo"))
    said = {
        (e.msgctxt, e.msgid, e.msgstr, tuple(sorted(e.msgstr_plural.items()))) for e in compiled
    }
    written = {
        (e.msgctxt, e.msgid, e.msgstr, tuple(sorted(e.msgstr_plural.items())))
        for e in catalogue(locale)
    }
    assert said == written


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["7 minutes ago", "1 month ago"]),
        ("de", ["vor 7 Minuten", "vor 1 Monat"]),
        ("fr", ["il y a 7 minutes", "il y a 1 mois"]),
        ("es", ["hace 7 minutos", "hace 1 mes"]),
        ("pt-br", ["há 7 minutos", "há 1 mês"]),
    ],
)
def test_ages_are_whole_phrases(language, said):
    now = timezone.now()
    with translation.override(language):
        assert [ago(now - dt.timedelta(minutes=7)), ago(now - dt.timedelta(days=40))] == said


@pytest.fixture
def pages(memory, settings, db):
    """The address of every page of the app, with something of everything on it."""
    settings.BACKUPS_REMOTE = {
        **settings.BACKUPS_REMOTE,
        "DAEMON": "backups_remote.daemon.WingsDaemon",
    }
    node = NodeFactory(name="fra-1", url=CLOSED, heard_at=timezone.now() - dt.timedelta(minutes=7))
    server = ServerFactory(name="Srv", node=node, backup_limit=99)
    busy = ServerFactory(name="Srv2", node=node)
    backups = [
        backup_in(state, server=server, disk="memory", name=f"b{number}")
        for number, state in enumerate(State)
    ]
    whole = next(b for b in backups if b.state is State.COMPLETED)
    restoring = backup_in(State.COMPLETED, server=busy, disk="memory", name="b9")
    Server.objects.filter(pk=busy.pk).update(
        status=RESTORING, restoring_backup=restoring, restore_started_at=timezone.now()
    )
    retired = backup_in(State.FAILED, server=server, disk="retired", name="b10")
    pending = next(b for b in backups if b.state is State.PENDING)
    urls = [
        LIST,
        LIST + "?state=failed",
        *(page_of(backup) for backup in (*backups, restoring, retired)),
        *(page_of(backup, "progress") for backup in (*backups, restoring)),
        page_of(whole, "restore"),
        page_of(whole, "delete"),
        page_of(pending, "expire"),
        page_of(retired, "forget"),
    ]
    for model, pk, verbs in (
        ("server", server.pk, ["change", "back_up"]),
        ("node", node.pk, ["change", "rotate_token"]),
    ):
        urls += [reverse(f"admin:backups_remote_{model}_{verb}", args=[pk]) for verb in verbs]
        urls += [reverse(f"admin:backups_remote_{model}_{name}") for name in ("changelist", "add")]
    urls.append(reverse("admin:backups_remote_backupevent_changelist"))
    return urls


@pytest.mark.parametrize(("language", "locale"), LANGUAGES.items())
def test_pages_speak_one_language(admin_client, pages, settings, language, locale):
    settings.LANGUAGE_CODE = language
    english = {
        entry.msgid
        for entry in catalogue(locale)
        if entry.msgstr != entry.msgid and " " in entry.msgid and "%" not in entry.msgid
    }
    translated = {entry.msgstr for entry in catalogue(locale)}
    seen = set()
    for url in pages:
        answer = admin_client.get(url)
        assert answer.status_code == 200, url
        shown = text(answer)
        assert [said for said in english if said in shown] == [], url
        seen |= {said for said in translated if said and said in shown}
    # The pages are in that language at all.
    assert len(seen) > 100
