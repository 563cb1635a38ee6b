"""PostgreSQL and MariaDB for the tests: the machine's own where they answer, else new ones.

``python -m tests.support.databases`` prints their URLs as lines of POSTGRES_URL= and MARIADB_URL=,
and waits for Ctrl-C or SIGTERM.

What it starts has its data in a temporary directory, listens on ports of its own, and ends with it,
however that ends. What is not installed it installs, as root, from Debian's packages.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from panel_site.gunicorn import ROOT
from panel_site.ports import held_ports

USUAL = {
    "POSTGRES_URL": "postgres://postgres:postgres@127.0.0.1:5432/postgres",
    "MARIADB_URL": "mysql://root@127.0.0.1:3306/test",
}
PATIENCE = 60
#: It says no to every service that a package wants to start.
POLICY = Path("/usr/sbin/policy-rc.d")


class DatabaseError(Exception):
    """A server cannot be installed or started."""


def answers(url):
    """Whether a server can be logged in to there."""
    # Of the group "databases", which not every environment has.
    import dj_database_url
    import MySQLdb
    import psycopg

    told = dj_database_url.parse(url)
    where = {"host": told["HOST"], "port": told["PORT"], "user": told["USER"]}
    where["password"] = told["PASSWORD"]
    try:
        if url.startswith("postgres"):
            psycopg.connect(**where, dbname=told["NAME"], connect_timeout=5).close()
        else:
            MySQLdb.connect(**where, connect_timeout=5).close()
    except (MySQLdb.Error, psycopg.Error):
        return False
    return True


@contextlib.contextmanager
def running_databases():
    """The URLs of two servers, by the names of their variables, until the block ends.

    Raises:
        DatabaseError: with the end of the server's log.

    """
    starting = {"POSTGRES_URL": running_postgresql, "MARIADB_URL": running_mariadb}
    with contextlib.ExitStack() as running:
        yield {
            name: url if answers(url) else running.enter_context(starting[name]())
            for name, url in USUAL.items()
        }


@contextlib.contextmanager
def running_postgresql():
    programs = installed("postgresql", postgresql_programs)
    with directory_of("postgres") as here, held_ports(1) as held:
        (port,) = held.numbers
        run(
            *as_user("postgres"),
            *(programs / "initdb", "-D", here / "data", "-U", "postgres", "-A", "trust"),
            # Whatever this machine's language is.
            *("-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": here,
            "max_connections": 200,
            # Nothing of it is to outlive this process.
            "fsync": "off",
            "full_page_writes": "off",
            # Plans are not to depend on when it came to look at a table.
            "autovacuum": "off",
        }
        command = [*as_user("postgres"), programs / "postgres", "-D", here / "data", "-p", port]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        with server(here, command, url, held):
            yield url


@contextlib.contextmanager
def running_mariadb():
    program = installed("mariadb-server", lambda: which("mariadbd"))
    with directory_of("mysql") as here, held_ports(1) as held:
        (port,) = held.numbers
        run(
            *as_user("mysql"),
            *("mariadb-install-db", "--no-defaults", f"--datadir={here / 'data'}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )
        command = [
            *as_user("mysql"),
            program,
            "--no-defaults",
            f"--datadir={here / 'data'}",
            f"--port={port}",
        ]
        command += ["--bind-address=127.0.0.1", f"--socket={here / 'socket'}"]
        command += ["--character-set-server=utf8mb4", "--innodb-flush-log-at-trx-commit=0"]
        url = f"mysql://root@127.0.0.1:{port}/test"
        with server(here, command, url, held):
            yield url


@contextlib.contextmanager
def server(here, command, url, held):
    """The command running, in a process group that ends with this process, until it is told to."""
    log = here / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.leash", *map(str, command)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(held.lock,),
        )
    try:
        give_up = time.monotonic() + PATIENCE
        while not answers(url):
            if process.poll() is not None or time.monotonic() > give_up:
                said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise DatabaseError(f"{url} does not answer. The end of the log:\n{said}")
            time.sleep(0.2)
        yield
    finally:
        # The leash ends it at once. Its data is thrown away.
        process.stdin.close()
        process.wait()


def run(*command, **environment):
    done = subprocess.run(
        list(map(str, command)),
        # One that every user may enter.
        cwd="/",
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise DatabaseError(f"{' '.join(map(str, command))}:\n{said}")


def as_user(name):
    """Neither server runs as root."""
    return ("runuser", "-u", name, "--") if os.geteuid() == 0 else ()


@contextlib.contextmanager
def directory_of(user):
    """A temporary directory that belongs to a server's user."""
    with tempfile.TemporaryDirectory(prefix=f"{user}-", ignore_cleanup_errors=True) as directory:
        if os.geteuid() == 0:
            account = pwd.getpwnam(user)
            os.chown(directory, account.pw_uid, account.pw_gid)
        yield Path(directory)


def which(program):
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    return found and Path(found)


def postgresql_programs():
    """The directory of the newest version's programs."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((path.parent for path in found), key=lambda p: float(p.parent.name), default=None)


def installed(package, find):
    """What ``find`` finds, once the package is installed."""
    if find() is None:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise DatabaseError(f"Install {package}, or run this as root on Debian.")
        print(f"Installing {package} ...", flush=True)
        install(package)
    return find()


def install(package):
    """Without starting it: the machine's services are not ours."""
    with contextlib.ExitStack() as afterwards:
        if not POLICY.exists():
            POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
            POLICY.chmod(0o755)
            afterwards.callback(POLICY.unlink)
        apt = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq")
        run(*apt, "update")
        run(
            *apt,
            "install",
            "-y",
            "--no-install-recommends",
            package,
            DEBIAN_FRONTEND="noninteractive",
        )


def main():
    # In the background, a shell has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt), running_databases() as urls:
            for name, url in urls.items():
                print(f"{name}={url}", flush=True)
            print("Both run until Ctrl-C.", flush=True)
            while True:
                signal.pause()
    except DatabaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
