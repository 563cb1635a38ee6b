"""What a command prints never stops what it does: real processes, real pipes."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from backups_remote.management.output import DroppingStream, WorkCommand
from panel_site.gunicorn import ROOT

#: More than a sweep deals with before it first prints.
ROWS = 400
FILL = f"""
import datetime as dt
from django.utils import timezone
from backups_remote.models import Backup, Node, Server
server = Server.objects.create(name="s", node=Node.objects.create(name="n"))
old = timezone.now() - dt.timedelta(days=30)
Backup.objects.bulk_create(
    Backup(server=server, node=server.node, disk="wings", created_at=old) for _ in range({ROWS})
)
"""


class Panel:
    """The host project on a database of its own, with stale backups, as a shell runs it."""

    def __init__(self, directory):
        self.database = directory / "panel.sqlite3"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "BACKUPS_", "DATABASE_", "DJANGO_"))
        }
        self.environment = kept | {"DJANGO_SECRET_KEY": "of-this-test"}
        fill = f"$MANAGE migrate --verbosity=0 && $MANAGE shell --verbosity=0 -c '{FILL}'"
        filling = self.shell(fill, self.database)
        _, said = filling.communicate(timeout=300)
        assert filling.returncode == 0, said

    def copy(self, directory):
        """Its database, for one test."""
        return Path(shutil.copy(self.database, directory))

    def shell(self, command, database, stdout=subprocess.PIPE):
        told = {
            "DATABASE_URL": f"sqlite:///{database}",
            "MANAGE": f"{sys.executable} manage.py",
        }
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=ROOT,
            env=self.environment | told,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )


def left_in(database):
    """How many backups have not ended."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        open_rows = "SELECT count(*) FROM backups_remote_backup WHERE completed_at IS NULL"
        return connection.execute(open_rows).fetchone()[0]


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    return Panel(tmp_path_factory.mktemp("panel"))


@pytest.fixture
def no_reader():
    """A pipe that nobody reads from any more, as behind ``head``."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


SWEEP = "$MANAGE expire_stale_uploads"
SAID = "not all of the output could be written"


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        # Its exit status is the last line of standard error.
        (f"{SWEEP}; echo $? >&2", True),
        (f"{SWEEP} >&-; echo $? >&2", True),
        (f"{SWEEP} > /dev/full; echo $? >&2", True),
        (f"{SWEEP} > /dev/full 2>&1; echo $? >&2", False),
        (f"{SWEEP} 2>&1 >&- | cat >&2; echo 1 >&2", True),
    ],
    ids=["no reader", "closed", "full", "both full", "closed, errors piped"],
)
def test_work_goes_on_without_output(panel, no_reader, tmp_path, command, complaint):
    database = panel.copy(tmp_path)
    assert left_in(database) == ROWS
    process = panel.shell(command, database, stdout=no_reader)
    _, said = process.communicate(timeout=300)
    assert left_in(database) == 0
    assert said.splitlines()[-1] == "1", said
    assert (SAID in said) is complaint, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.once
def test_list_ends_with_its_reader(panel, no_reader):
    command = "$MANAGE list_backups; echo $? >&2"
    process = panel.shell(command, panel.database, stdout=no_reader)
    _, said = process.communicate(timeout=300)
    assert said == "0\n"


@pytest.mark.django_db
def test_list_on_a_stream_of_its_own_leaves_standard_output(no_reader):
    before = os.fstat(sys.stdout.fileno())
    with os.fdopen(os.dup(no_reader), "w") as out:
        call_command("list_backups", stdout=out)
    assert os.path.samestat(os.fstat(sys.stdout.fileno()), before)


class Broken(io.StringIO):
    """Fails after so many characters."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def write(self, text):
        self.room -= len(text)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return super().write(text)


class Telling(WorkCommand):
    requires_system_checks = ()
    did = 0

    def handle(self, **_options):
        for _ in range(3):
            self.stdout.write("12345")
            self.stderr.write("12345")
            self.did += 1


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("given", ["when it is made", "when it is called"])
def test_what_cannot_be_written_is_dropped(name, given):
    streams = {"stdout": io.StringIO(), "stderr": io.StringIO(), name: Broken(8)}
    command = Telling(**streams) if given == "when it is made" else Telling()
    called = {"force_color": False, "no_color": False, "skip_checks": True}
    with pytest.raises(CommandError, match=SAID):
        command.execute(**called, **(streams if given == "when it is called" else {}))
    assert command.did == 3
    assert streams.pop(name).getvalue() == "12345\n"
    assert streams.popitem()[1].getvalue() == 3 * "12345\n"


def test_characters_that_the_terminal_lacks_are_escaped():
    raw = io.BytesIO()
    stream = DroppingStream(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    stream.write("für ")
    stream.write("two")
    assert raw.getvalue() == rb"f\xfcr two"
    assert not stream.is_lost
