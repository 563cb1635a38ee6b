"""Reasons that the lifecycle gives, in the user's language.

The lifecycle's reasons are in English: they end up in daemons' logs and in the rows. Those that an
operator sees in the admin are listed here, so that the catalogues have them. Others, such as a
store's own words, are shown as they are.
"""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext, gettext_noop

#: What the catalogues translate. A test compares them with what the lifecycle says.
KNOWN: Final = frozenset(
    {
        # lifecycle.rules.deletion
        gettext_noop("The backup is locked."),
        gettext_noop("The backup has not ended yet."),
        gettext_noop("The backup is being restored."),
        # lifecycle.rules.ownership
        gettext_noop("The object in the store is not this backup's: its ETag is another."),
        gettext_noop("The object in the store is not this backup's: its mark is another."),
        gettext_noop("The object in the store does not carry this backup's mark."),
        # lifecycle.restores
        gettext_noop("The server is busy with something else."),
        gettext_noop("The archive is not in the store."),
        gettext_noop("The store shows the archive, but it cannot be read."),
        gettext_noop("Only a completed backup can be restored."),
        gettext_noop("The archive is on the disk of a node that the server has left."),
        gettext_noop("The archive is in an archive class: have the store thaw it first."),
        gettext_noop("A part of the archive was replaced after the backup was completed."),
        # lifecycle.delete
        gettext_noop("The backup was locked or deleted meanwhile."),
        # exceptions
        gettext_noop("The backup was not found."),
        gettext_noop("The server has as many backups as its limit allows."),
        gettext_noop("The server's status has changed since it was read; nothing was saved."),
        gettext_noop("The store did not answer in time; it may still be working on the call."),
        gettext_noop("The store could not be reached or did not give a clear answer."),
        # daemon
        gettext_noop("The setting DAEMON is not set: this project calls no daemon."),
    }
)


def translated(reason: object) -> str:
    """``reason``, which may be an error, in the user's language if the catalogues have it."""
    text = str(reason)
    return gettext(text) if text in KNOWN else text
