"""The sessions that a database server has, and how it ends one."""

from __future__ import annotations

import time

from django.db import OperationalError, connections


def session_of(mine):
    """The server's number of a connection; None if it is closed."""
    if mine.connection is None:
        return None
    if mine.vendor == "postgresql":
        return mine.connection.info.backend_pid
    return mine.connection.thread_id()


def end_session(number):
    """Have the server hang up, as at an idle limit or in a failover; whether it was there."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            if other.vendor == "postgresql":
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [number])
                return cursor.fetchone()[0]
            cursor.execute("KILL %s", [number])
            # It ends in its own time.
            while _is_there(cursor, number):
                time.sleep(0.01)
            return True
    except OperationalError as error:
        if "Unknown thread" not in str(error):
            raise
        return False
    finally:
        other.close()


def _is_there(cursor, number):
    cursor.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", [number])
    return cursor.fetchone() is not None
