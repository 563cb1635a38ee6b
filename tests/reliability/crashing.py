"""Kills its own process right before or right after a chosen step.

Steps are every store call and every write to the database (each UPDATE is committed by itself, so
that "after" it is "after the commit"). They are counted from 1 within one request, which says
``X-Crash-At: 3:before``, or within one command. ``count`` instead lists the steps and kills
nobody; ``3:before:all`` takes the whole process group along.
"""

from __future__ import annotations

import functools
import os
import signal
import threading

from django.apps import AppConfig
from django.conf import settings
from django.db.backends.signals import connection_created

STORE_CALLS = (
    "create_upload",
    "list_parts",
    "complete_upload",
    "abort_upload",
    "stat",
    "open_uploads",
    "delete",
)
_WRITES = ("INSERT", "UPDATE", "DELETE")


class Plan:
    """Where to die."""

    def __init__(self, told):
        number, self.when, self.group = [*told.split(":"), "", ""][:3]
        self.number = None if number == "count" else int(number)
        self.steps = []

    def reached(self, when, name):
        if when == "before":
            self.steps.append(name)
        if self.number == len(self.steps) and self.when == when:
            if self.group:
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


_of_request = threading.local()
_of_processes = []


def _reached(when, name):
    plan = getattr(_of_request, "plan", None)
    for reaching in [plan] if plan else _of_processes:
        reaching.reached(when, name)


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
        _of_request.plan = plan = Plan(told)
        try:
            response = get_response(request)
        finally:
            _of_request.plan = None
        response["X-Steps"] = " ".join(plan.steps)
        return response

    return middleware


def _around(name, method):
    @functools.wraps(method)
    def call(*args, **kwargs):
        _reached("before", f"store.{name}")
        try:
            result = method(*args, **kwargs)
            # A generator asks the store only when it is read.
            return iter(list(result)) if name == "open_uploads" else result
        finally:
            _reached("after", f"store.{name}")

    return call


def _watch_writes(execute, sql, params, many, context):
    word = sql.lstrip().split(None, 1)[0].upper()
    if word not in _WRITES:
        return execute(sql, params, many, context)
    _reached("before", f"db.{word}")
    result = execute(sql, params, many, context)
    _reached("after", f"db.{word}")
    return result


def _on_connection(*, connection, **kwargs):
    if _watch_writes not in connection.execute_wrappers:
        connection.execute_wrappers.append(_watch_writes)


class CrashingConfig(AppConfig):
    """Lays the hooks."""

    name = "tests.reliability"
    label = "reliability"

    def ready(self):
        from backups_remote.lifecycle import reporting
        from backups_remote.storage import s3

        for name in STORE_CALLS:
            setattr(s3.S3Backend, name, _around(name, getattr(s3.S3Backend, name)))
        for name, seconds in settings.TIMEOUTS.items():
            setattr(reporting if name == "PATIENCE" else s3, name, seconds)
        connection_created.connect(_on_connection, dispatch_uid="reliability")
