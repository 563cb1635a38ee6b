"""The stand-in as a program of its own, with the configuration that ``create_node`` prints."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import uuid
from io import StringIO

import pytest
from django.core.management import call_command

from backups_remote import lifecycle
from backups_remote.models import Backup, Node, Server
from tests.support.factories import ServerFactory
from tests.support.waiting import wait_until

pytestmark = pytest.mark.once
PROGRAM = [sys.executable, "-m", "backups_remote.testing.daemon"]


@pytest.fixture
def config(live_server, tmp_path):
    """What ``create_node`` prints, in a file."""

    def create(url):
        printed = StringIO()
        call_command("create_node", "local", url=url, remote=live_server.url, stdout=printed)
        file = tmp_path / "config.yml"
        file.write_text(printed.getvalue())
        return file

    return create


def refused(*arguments):
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


@pytest.mark.django_db(transaction=True)
def test_program_backs_up_and_restores(disk, calls_daemons, config, tmp_path):
    server_uuid = uuid.uuid4()
    arguments = ["--root", tmp_path / "node", "--port", 0, "--server", server_uuid]
    file = config("http://node.invalid")
    with subprocess.Popen(
        [*PROGRAM, file, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            url = program.stdout.readline().removeprefix("listening at ").strip()
            files = tmp_path / "node/servers" / str(server_uuid)
            assert program.stdout.readline() == f"files of {server_uuid}: {files}\n"
            Node.objects.update(url=url)
            server = ServerFactory(uuid=server_uuid, node=Node.objects.get())
            (files / "level.dat").write_text("a world")

            backup = lifecycle.back_up(server)
            wait_until(lambda: Backup.objects.get().completed_at is not None)
            (files / "level.dat").unlink()
            lifecycle.restore(Backup.objects.get(), truncate=True)
            wait_until(lambda: Server.objects.get().status is None)
            assert (files / "level.dat").read_text() == "a world"
            assert lifecycle.history(backup)[-1].kind == "restore_completed"
        finally:
            program.send_signal(signal.SIGINT)
        assert program.wait(30) == 0


@pytest.mark.django_db(transaction=True)
def test_taken_port_is_named(config, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = config(f"http://127.0.0.1:{port}")
        said = refused(file, "--root", tmp_path, "--port", port)
    assert f"--port: {port} cannot be used: Address already in use." in said


def test_incomplete_configuration_names_what_it_lacks(tmp_path):
    file = tmp_path / "config.yml"
    file.write_text("token_id: abc\ntoken: secret\n")
    said = refused(file, "--root", tmp_path)
    assert said.endswith(f"{file}: it has no line 'remote: …'.")
    assert "secret" not in said
    assert "No such file" in refused(tmp_path / "none.yml", "--root", tmp_path)
