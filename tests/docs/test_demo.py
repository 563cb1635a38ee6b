"""``python -m panel_site.demo`` as a process: its output and its exit code."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import requests

from panel_site.demo.world import (
    DiffersError,
    UnusableDirectoryError,
    compare,
    copy,
    damage,
    make_world,
    survey,
    take_inventory,
)
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
STEPS = [
    *("node", "backup", "upload", "report", "download", "damage", "restore", "own disk"),
    *("refusal", "silence", "at the end"),
]

pytestmark = pytest.mark.once


@pytest.fixture
def world(tmp_path):
    """A directory whose archive has three parts of 5 MiB."""
    directory = tmp_path / "a world"
    (directory / "region").mkdir(parents=True)
    for number in range(2):
        (directory / f"region/r.{number}.0.mca").write_bytes(os.urandom(11 * MIB // 2))
    (directory / "naïve \N{SNOWMAN}.txt").write_text("snow")
    (directory / "empty").mkdir()
    (directory / "linked").symlink_to("region")
    os.link(directory / "region/r.0.0.mca", directory / "hard link")
    os.mkfifo(directory / "pipe")
    return directory


@contextlib.contextmanager
def demo(*arguments, tmp_path):
    """The demo, running; whatever it leaves behind is ended, and is a failure."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "panel_site.demo", *map(str, arguments)],
        cwd=ROOT,
        # None of these may reach it.
        env={
            **os.environ,
            "TMPDIR": str(scratch),
            "AWS_PROFILE": "nobody",
            "DATABASE_URL": "nonsense://",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "HTTP_PROXY": "http://127.0.0.1:9",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
        process.wait(timeout=60)
        assert session_of(process.pid) == []
        assert list(scratch.iterdir()) == []
    finally:
        process.stdout.close()
        for left in session_of(process.pid):
            left.kill()


def session_of(leader):
    """Every process of the session that ``leader`` leads or led."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def read_until(process, wanted):
    said = ""
    for line in process.stdout:
        said += line
        if wanted in line:
            return said
    pytest.fail(f"{wanted!r} was never said:\n{said}")


def wait_for_child(process, name):
    """The store or a panel, once it is there."""

    def find():
        for child in session_of(process.pid):
            with contextlib.suppress(psutil.Error):
                if any(name in word for word in child.cmdline()):
                    return child
        return None

    return wait_until(find, f"the start of a {name}")


@pytest.mark.torture
def test_two_demos_at_once_do_not_disturb_each_other(world, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with (
        demo("--dir", world, tmp_path=tmp_path / "one") as one,
        demo("--dir", world, tmp_path=tmp_path / "other") as other,
    ):
        for process in (one, other):
            said = process.stdout.read()
            assert process.wait(timeout=60) == 0, said
            assert "Every step held" in said


def test_directory_is_backed_up_and_every_step_is_printed(world, tmp_path):
    before = take_inventory(world)
    with demo("--dir", world, tmp_path=tmp_path) as process:
        said = process.stdout.read()
        assert process.wait(timeout=60) == 0, said

    told = [line.strip() for line in said.partition("Every step held")[2].splitlines()]
    assert [step for step in STEPS if not any(line.startswith(step) for line in told)] == []
    assert re.search(r"backup +the node's daemon has accepted", said)
    assert re.search(r"upload +4 parts packed and sent", said)
    assert re.search(r"report +proven whole, completed", said)
    assert re.search(r"download +SHA-1 is the same +[0-9.]+ MB, [0-9.]+ s", said)
    assert re.search(r"damage +files: 1 changed, 2 deleted, 1 added", said)
    assert re.search(r"restore +all is back: 7 entries", said)
    history = said.partition("What happened to the first backup")[2]
    kinds = ("Created", "Upload started", "Success reported", "Completed", "Restore completed")
    places = [history.find(kind) for kind in kinds]
    assert -1 not in places
    assert places == sorted(places)
    assert "Signature" not in said
    assert "password" not in said
    # The directory itself is only read.
    assert take_inventory(world) == before


@pytest.mark.torture
def test_dead_store_ends_the_demo_with_an_error(world, tmp_path):
    with demo("--dir", world, tmp_path=tmp_path) as process:
        wait_for_child(process, "gunicorn")
        wait_for_child(process, "weed").kill()
        said = process.stdout.read()
        assert process.wait(timeout=60) == 1, said
    assert "This did not hold: " in said
    assert "Signature" not in said
    assert "Traceback" not in said


@pytest.mark.torture
def test_keep_option_runs_until_ctrl_c(world, tmp_path):
    with demo("--dir", world, "--keep", tmp_path=tmp_path) as process:
        said = read_until(process, "until Ctrl-C")
        url, password = re.search(r"(http://\S+/admin/)  user demo, password (\S+)", said).groups()
        log_in(url, password)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def log_in(url, password):
    with requests.Session() as browser:
        login = f"{url}login/"
        token = re.search(
            r'csrfmiddlewaretoken" value="(\w+)"', browser.get(login, timeout=10).text
        )
        form = {"username": "demo", "password": password, "csrfmiddlewaretoken": token[1]}
        answer = browser.post(login, data=form, timeout=10, allow_redirects=False)
        assert answer.status_code == 302


@pytest.mark.torture
@pytest.mark.parametrize(
    ("when", "number"), [("weed", signal.SIGTERM), ("gunicorn", signal.SIGINT)]
)
def test_signal_leaves_no_process(when, number, world, tmp_path):
    with demo("--dir", world, tmp_path=tmp_path) as process:
        wait_for_child(process, when)
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
        assert f"Stopped by {number.name}." in process.stdout.read()


def test_unusable_directory_prints_one_line(tmp_path):
    empty = tmp_path / "empty"
    (empty / "inner").mkdir(parents=True)
    file = tmp_path / "file"
    file.touch()
    for path, problem in [
        (tmp_path / "missing", "does not exist"),
        (empty, "holds no files"),
        (file, "is not a directory"),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", "panel_site.demo", "--dir", path],
            cwd=ROOT,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{path} {problem}.\n")


@pytest.mark.parametrize("path", ["", "locked", "locked.dat", "open/locked"])
def test_unreadable_path_is_named(path):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "locked").mkdir()
        (root / "open/locked").mkdir(parents=True)
        (root / "locked.dat").touch()
        (root / "open/fine.dat").touch()
        for name in ("", "locked", "locked.dat", "open/locked"):
            (root / name).chmod(0o755)
        (root / path).chmod(0o000)
        with nobody(), pytest.raises(UnusableDirectoryError) as caught:
            survey(root)
        assert str(caught.value) == f"{root / path} cannot be read."
        root.chmod(0o755)


@contextlib.contextmanager
def nobody():
    """As another user: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_generated_world_is_some_tens_of_mib(tmp_path):
    make_world(tmp_path / "world")
    found = survey(tmp_path / "world")
    assert 20 * MIB < found.size < 50 * MIB


def test_copy_is_what_a_daemon_archives(world, tmp_path):
    (world / "outside").symlink_to("/etc/passwd")
    copy(world, tmp_path / "copy")
    before, copied = take_inventory(world), take_inventory(tmp_path / "copy")
    assert before.keys() - copied.keys() == {"outside"}
    del before["outside"]
    compare(before, copied)
    assert not (tmp_path / "copy/hard link").samefile(tmp_path / "copy/region/r.0.0.mca")


def test_damage_is_a_difference(world):
    before = take_inventory(world)
    assert damage(world) == "files: 1 changed, 2 deleted, 1 added"
    with pytest.raises(DiffersError):
        compare(before, take_inventory(world))


def test_directory_with_one_file_can_be_damaged(tmp_path):
    (tmp_path / "only").write_text("x")
    before = take_inventory(tmp_path)
    damage(tmp_path)
    with pytest.raises(DiffersError):
        compare(before, take_inventory(tmp_path))


def _change(path):
    path.write_bytes(b"other" + path.read_bytes()[5:])


@pytest.mark.parametrize(
    "sabotage",
    [
        lambda world: _change(world / "region/r.1.0.mca"),
        lambda world: (world / "new").touch(),
        lambda world: (world / "empty").rmdir(),
        lambda world: (world / "region/r.1.0.mca").chmod(0o700),
        lambda world: ((world / "linked").unlink(), (world / "linked").symlink_to("empty")),
        lambda world: ((world / "empty").rmdir(), (world / "empty").touch()),
    ],
    ids=["content", "added", "missing", "program", "link", "kind"],
)
def test_every_difference_is_found(world, sabotage):
    before = take_inventory(world)
    compare(before, take_inventory(world))
    sabotage(world)
    with pytest.raises(DiffersError):
        compare(before, take_inventory(world))
