"""Download tokens, checked as Wings checks them."""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import UUID

import jwt

_NEEDED: Final = ("iat", "server_uuid", "user_uuid", "backup_uuid", "unique_id", "scope")
_SCOPE: Final = "backup-download"


class TokenRefused(Exception):
    """The token opens nothing."""


class DownloadTokens:
    """Remembers which tokens were used since the daemon's start."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        # A token tells whole seconds.
        self._started = int(time.time())

    def redeem(self, token: str, key: str) -> tuple[UUID, UUID]:
        """Use a token, once; the server and the backup that it is for.

        Raises:
            TokenRefused: it is forged, too old or incomplete, or was used before.

        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["HS256"],
                leeway=5,
                options={"require": list(_NEEDED), "verify_aud": False},
            )
            server, backup = UUID(claims["server_uuid"]), UUID(claims["backup_uuid"])
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError):
            raise TokenRefused from None
        used = str(claims["unique_id"])
        is_old = claims["iat"] < self._started
        if claims["scope"] != _SCOPE or is_old or used in self._used:
            raise TokenRefused
        self._used.add(used)
        return server, backup
