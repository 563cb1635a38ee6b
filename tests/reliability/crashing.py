"""Kills its own process right before or right after a chosen step.

Steps are every call to a store or a daemon, every write to the database, and every commit of a transaction; a write
outside of one is committed by itself. They are counted from 1 within one request, which says
``X-Crash-At: 3:before``, or within one command. ``count`` only lists the
steps; ``3:before:all`` takes the whole process group along. ``3:before:lost`` kills nothing: the
database hangs up on the request's connection, or on all of the command's.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import functools
import os
import signal
import threading
import weakref

from django.apps import AppConfig
from django.conf import settings
from django.db import connections
from django.db.backends.signals import connection_created

from tests.support.sessions import end_session, session_of
from tests.support.store_calls import STORE_CALLS

DAEMON_CALLS = ("make_backup", "restore_backup", "delete_backup")
_WRITES = ("INSERT", "UPDATE", "DELETE")


class Plan:
    """Where to die."""

    def __init__(self, told):
        number, self.when, self.group = [*told.split(":"), "", ""][:3]
        self.number = None if number == "count" else int(number)
        self.steps = []
        self._counting = threading.Lock()

    def begin(self, name):
        """Count a step, and die before it if told so; its number."""
        with self._counting:
            self.steps.append(name)
            number = len(self.steps)
        self._die_at(number, "before")
        return number

    def end(self, number):
        """Die after a step if told so. Another thread may have begun others meanwhile."""
        self._die_at(number, "after")

    def _die_at(self, number, when):
        if (self.number, self.when) == (number, when):
            if self.group == "lost":
                # Another thread's request has its own, and finds nothing out before its next one.
                of_request = _of_request.get() is self
                lose([connections["default"]] if of_request else [*_connections])
                return
            if self.group:
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


def lose(some):
    """Have the database end the sessions of these connections, as in a failover."""
    for number in [session_of(connection) for connection in some]:
        if number is not None:
            end_session(number)


# A request's store calls may be made in threads that it starts: they inherit its context.
_of_request = contextvars.ContextVar("plan", default=None)
_of_processes = []
_connections = weakref.WeakSet()


@contextlib.contextmanager
def _step(name):
    plan = _of_request.get()
    begun = [(of, of.begin(name)) for of in ([plan] if plan else _of_processes)]
    try:
        yield
    finally:
        for of, number in begun:
            of.end(number)


def of_process(told):
    """Have the whole process die there, whichever thread gets there."""
    _of_processes[:] = [Plan(told)]
    return _of_processes[0]


def crash_where_told(get_response):
    """Middleware: a request may say where its process is to die."""

    def middleware(request):
        told = request.headers.get("X-Crash-At")
        if told is None:
            return get_response(request)
        plan = Plan(told)
        token = _of_request.set(plan)
        try:
            response = get_response(request)
        finally:
            _of_request.reset(token)
        response["X-Steps"] = " ".join(plan.steps)
        return response

    return middleware


def _around(name, method, of="store"):
    @functools.wraps(method)
    def call(*args, **kwargs):
        with _step(f"{of}.{name}"):
            result = method(*args, **kwargs)
            # A generator asks the store only when it is read.
            return iter(list(result)) if name == "open_uploads" else result

    return call


def _watch_writes(execute, sql, params, many, context):
    word = sql.lstrip().split(None, 1)[0].upper()
    if word not in _WRITES:
        return execute(sql, params, many, context)
    with _step(f"db.{word}"):
        return execute(sql, params, many, context)


def _on_connection(*, connection, **kwargs):
    _connections.add(connection)
    if _watch_writes not in connection.execute_wrappers:
        connection.execute_wrappers.append(_watch_writes)
        connection._commit = _around("COMMIT", connection._commit, of="db")


class CrashingConfig(AppConfig):
    """Lays the hooks."""

    name = "tests.reliability"
    label = "reliability"

    def ready(self):
        from backups_remote.daemon import WingsDaemon
        from backups_remote.lifecycle import lease, report
        from backups_remote.storage.s3 import S3Backend, clients

        owners = {"PATIENCE": report, "LEASE": lease, "RENEW_EVERY": lease}

        for name in STORE_CALLS:
            setattr(S3Backend, name, _around(name, getattr(S3Backend, name)))
        for name in DAEMON_CALLS:
            setattr(WingsDaemon, name, _around(name, getattr(WingsDaemon, name), of="daemon"))
        for name, seconds in settings.TIMEOUTS.items():
            value = dt.timedelta(seconds=seconds) if name == "LEASE" else seconds
            setattr(owners.get(name, clients), name, value)
        connection_created.connect(_on_connection, dispatch_uid="reliability")
