"""What can go wrong on a node."""

from __future__ import annotations

import enum


class Fault(enum.Enum):
    """A fault of a daemon, or of the way to it.

    The first three belong to daemons as they are: a make has its own switched on.
    """

    #: The body of a part is consumed by the first try: after a 5xx or a lost answer no repeat
    #: succeeds, and the backup is reported failed.
    CONSUMES_BODY = "consumes body"
    #: An archive on the node's own disk is deleted when its success report gets an error.
    DELETES_ARCHIVE = "deletes archive"
    #: A restore deletes the server's files before it fetches the archive.
    TRUNCATES_FIRST = "truncates first"

    #: A link to a private or loopback address is refused, unless ``restore_host_allowlist`` names
    #: its host: a literal address before files are deleted, a host name after that.
    REFUSES_PRIVATE_ADDRESSES = "refuses private addresses"
    #: The work is done, and reported, before the panel's call is answered.
    CALLS_BACK_EARLY = "calls back early"

    #: Connections are refused.
    DOWN = "down"
    #: The work begins, and the panel's call is answered when the panel no longer waits.
    SLOW = "slow"
    #: The daemon answers 500: nothing begins.
    ANSWERS_500 = "answers 500"
    #: A proxy in front of the daemon answers 502: nothing begins, but the panel cannot know.
    ANSWERS_502 = "answers 502"
    #: The work begins, and the connection breaks instead of an answer.
    RESETS = "resets"
    #: The daemon accepts, and restarts before it has begun: the work is forgotten.
    RESTARTS = "restarts"
    #: An archive on the node's own disk cannot be deleted: the call is answered with a 500, or the
    #: failure is reported, as the make does.
    CANNOT_DELETE = "cannot delete"
