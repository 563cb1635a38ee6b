"""Authenticates nodes by the bearer token of their daemon."""

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
from backups_remote.sql import Lookup

if TYPE_CHECKING:
    from rest_framework.request import Request

_SCHEME: Final = "bearer"
_REALM: Final = 'Bearer realm="backups_remote"'
_from_id = Lookup(
    Node,
    lambda token_id: Node.objects.filter(token_id__gte=token_id).order_by("token_id")[:1],
    ("token_id",),
)


class NodeAuthentication(BaseAuthentication):
    """``Authorization: Bearer <token_id>.<token>`` → the Node, in ``request.auth``.

    ``request.user`` stays anonymous: a node is not a user.
    """

    # Error mails contain local variables: here the received token and the expected one.
    @sensitive_variables()
    def authenticate(self, request: Request) -> tuple[Any, Node] | None:
        """The node with this token; None if there is no Authorization header."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, credentials = header.partition(" ")
        token_id, dot, token = credentials.strip().partition(".")
        if scheme.lower() != _SCHEME or not (dot and token_id and token):
            raise AuthenticationFailed("The Authorization header is malformed.")
        # PostgreSQL accepts no NUL, not even as a value to search for.
        visible = credentials.isascii() and credentials.isprintable()
        if not visible or len(token_id) > crypto.TOKEN_ID_LENGTH:
            raise AuthenticationFailed("The bearer token is wrong.")
        node = _node_with_id_from(token_id)
        # An unknown id is answered like a known one, in the same time: the answer must not reveal
        # which ids exist. Another node's token is decrypted instead; it is usually unreadable too
        # if SECRET_KEY was changed without a fallback.
        expected = node.token if node is not None else crypto.decrypt(crypto.decoy())
        is_right = constant_time_compare(token, expected)
        if node is None or node.token_id != token_id or not is_right:
            raise AuthenticationFailed("The bearer token is wrong.")
        return AnonymousUser(), node

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        return _REALM


def _node_with_id_from(token_id: str) -> Node | None:
    """The node with this id, else the next one in order, else the first; None without nodes.

    Each is one look-up along the index.
    """
    found = _from_id.first(token_id)
    if found is None:
        # A replica may not have a new node or a new token yet.
        found = Node.objects.using(router.db_for_write(Node)).order_by("token_id").first()
    return found
