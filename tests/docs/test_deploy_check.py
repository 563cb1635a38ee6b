"""What docs/operations.md shows of ``check --deploy`` is what it prints."""

from __future__ import annotations

import re

import pytest
from django.core.management import CommandError, call_command

from tests.docs.test_docs import read
from tests.support.disks import with_disk

# From Django 6.1 on, it looks at the disks of rows as well.
pytestmark = [pytest.mark.once, pytest.mark.django_db]

COMMAND = "$ python manage.py check --deploy --tag backups_remote --tag urls\n"


def shown():
    """The three outputs of the page, by what they are about."""
    text = read("docs/operations.md").partition("### Check the set-up")[2].partition("\n## ")[0]
    outputs = re.findall(rf"```console\n{re.escape(COMMAND)}(.*?)```", text, re.DOTALL)
    return dict(zip(("empty", "wrong", "right"), outputs, strict=True))


def printed(capsys):
    try:
        call_command("check", deploy=True, tags=["backups_remote", "urls"], no_color=True)
    except CommandError as error:
        return str(error).removeprefix("SystemCheckError: ")
    told = capsys.readouterr()
    return f"{told.out}{told.err}"


def lines(text):
    return [line.expandtabs(4).strip() for line in text.splitlines() if line.strip()]


def test_an_empty_setup(settings, capsys):
    with_disk(settings)
    settings.ROOT_URLCONF = "tests.docs.test_deploy_check"
    assert lines(printed(capsys)) == lines(shown()["empty"])


urlpatterns: list = []


def test_a_wrong_setup(settings, capsys, store):
    options = {**store.storage_options, "secret_key": "mistyped"}
    with_disk(settings, **options)
    settings.BACKUPS_REMOTE = {"DEFAULT_DISK": "s3"}
    settings.PREPEND_WWW = True
    settings.SILENCED_SYSTEM_CHECKS = ["backups_remote.W003"]
    assert lines(printed(capsys)) == lines(shown()["wrong"])


def test_a_right_setup(settings, capsys, store):
    with_disk(settings, **store.storage_options)
    settings.SILENCED_SYSTEM_CHECKS = ["backups_remote.W003"]
    assert lines(printed(capsys)) == lines(shown()["right"])
