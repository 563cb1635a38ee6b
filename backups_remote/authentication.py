"""A daemon's bearer token tells which node is calling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.models import AnonymousUser
from django.db import router
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from backups_remote import crypto
from backups_remote.models import Node

if TYPE_CHECKING:
    from rest_framework.request import Request

_SCHEME: Final = "bearer"
_REALM: Final = 'Bearer realm="backups_remote"'


class NodeAuthentication(BaseAuthentication):
    """``Authorization: Bearer <token_id>.<token>`` → the Node, in ``request.auth``.

    ``request.user`` stays anonymous: a node is nobody's account.
    """

    # Tracebacks are mailed with the locals of their frames, here a token given and one expected.
    @sensitive_variables()
    def authenticate(self, request: Request) -> tuple[Any, Node] | None:
        """The node whose token this is; None if there is no Authorization header at all."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, credentials = header.partition(" ")
        token_id, dot, token = credentials.strip().partition(".")
        if scheme.lower() != _SCHEME or not (dot and token_id and token):
            raise AuthenticationFailed("The Authorization header is malformed.")
        # A NUL, say: PostgreSQL takes none, not even to look for it.
        visible = credentials.isascii() and credentials.isprintable()
        if not visible or len(token_id) > crypto.TOKEN_ID_LENGTH:
            raise AuthenticationFailed("The bearer token is wrong.")
        node = _node_called(token_id)
        # An unknown id takes the time of a known one: it must not show which ids there are.
        expected = node.token if node is not None else crypto.decrypt(crypto.decoy())
        if not constant_time_compare(token, expected) or node is None:
            raise AuthenticationFailed("The bearer token is wrong.")
        return AnonymousUser(), node

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        """What WWW-Authenticate says on a 401."""
        return _REALM


def _node_called(token_id: str) -> Node | None:
    # A replica may not know a new node yet, nor that a token was replaced.
    nodes = Node.objects.using(router.db_for_write(Node))
    try:
        return nodes.get(token_id=token_id)
    except Node.DoesNotExist:
        return None
