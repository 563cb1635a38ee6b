"""Who acts: what the events of a backup name as the one that made the change."""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters of an actor's name that are kept.
LONGEST_NAME: Final = 191


class ActorKind(models.TextChoices):
    """What kind of actor made a change."""

    NODE = "node", _("Node")
    USER = "user", _("User")
    COMMAND = "command", _("Command")
    SWEEP = "sweep", _("Sweep")
    #: The project's own code: nobody said who acts.
    CODE = "code", _("Code")


class Actor(NamedTuple):
    """One actor; ``name`` is that of the node, the user or the command, and may be empty."""

    kind: ActorKind
    name: str = ""


_NOBODY_NAMED: Final = Actor(ActorKind.CODE)
_actor: Final = contextvars.ContextVar("backups_remote_actor", default=_NOBODY_NAMED)


@contextlib.contextmanager
def acting_as(kind: ActorKind, name: str = "") -> Iterator[None]:
    """Name the actor of all changes within this block, or within a function that it decorates.

    It applies in this thread or task, and to what runs with a copy of its context. Blocks may be
    nested: the innermost counts. A name is cut to 191 characters.

    Raises:
        ValueError: there is no such kind of actor.

    """
    token = _actor.set(Actor(ActorKind(kind), name[:LONGEST_NAME]))
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> Actor:
    """The one that acts now: the project's own code unless a block says otherwise."""
    return _actor.get()


def is_actor_named() -> bool:
    """Whether any block says who acts."""
    return _actor.get() is not _NOBODY_NAMED
