"""Errors as the daemon reads them: ``{"errors": [{"code", "status", "detail"}]}``, all strings.

For this app's views only; the host project's EXCEPTION_HANDLER neither sees nor shapes them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import Error as DatabaseFault
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions as drf
from rest_framework.response import Response

from backups_remote.exceptions import (
    BackupConflict,
    BackupNotFound,
    BackupsRemoteError,
    ReportRefused,
    StorageError,
    TryAgain,
    UploadsNotSupported,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: The first class that fits decides.
STATUSES: Final[tuple[tuple[type[BackupsRemoteError], int], ...]] = (
    (BackupNotFound, 404),
    (BackupConflict, 409),
    (ReportRefused, 400),
    (UploadsNotSupported, 400),
    (TryAgain, 503),
    (StorageError, 503),
)


def error_response(error: Exception, *, conflict_status: int = 409) -> Response | None:
    """The answer to an error, or None for one that nobody foresaw.

    ``conflict_status`` is the endpoint's own code for a backup whose state does not allow the
    call: the tables give 409 to one endpoint and 400 to another.
    """
    if isinstance(error, BackupsRemoteError):
        status = status_of(error)
        if status == 409:  # noqa: PLR2004
            status = conflict_status
        if status >= 500:  # noqa: PLR2004
            logger.warning("A node is told to try again: %s", error)
        return _envelope(status, [(_code_of(error), str(error))])
    if isinstance(error, DatabaseFault):
        logger.error("The database did not answer a node's call.", exc_info=error)
        detail = "The panel's database cannot be used at the moment; try again."
        return _envelope(503, [("database_unavailable", detail)])
    if isinstance(error, Http404):
        error = drf.NotFound()
    elif isinstance(error, SuspiciousOperation | UnreadablePostError):
        error = drf.ParseError("The request cannot be read.")
    elif isinstance(error, PermissionDenied):
        error = drf.PermissionDenied()
    if isinstance(error, drf.APIException):
        return _from_drf(error)
    return None


def status_of(error: BackupsRemoteError) -> int:
    """The HTTP status of one of this package's errors."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 400)


def _from_drf(error: drf.APIException) -> Response:
    details = error.get_full_details()
    response = _envelope(error.status_code, list(_flatten(details)))
    challenge = getattr(error, "auth_header", None)
    if challenge:
        response["WWW-Authenticate"] = challenge
    wait = getattr(error, "wait", None)
    if wait:
        response["Retry-After"] = str(int(wait))
    return response


def _flatten(details: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Every message of DRF's nested details, its field named first."""
    if isinstance(details, dict) and set(details) == {"message", "code"}:
        message = str(details["message"])
        yield str(details["code"]), f"{field}: {message}" if field else message
    elif isinstance(details, dict):
        for name, inner in details.items():
            own = "" if name == "non_field_errors" else str(name)
            yield from _flatten(inner, ".".join(filter(None, [field, own])))
    else:
        for inner in details:
            yield from _flatten(inner, field)


def _envelope(status: int, errors: list[tuple[str, str]]) -> Response:
    return Response(
        {
            "errors": [
                {"code": code, "status": str(status), "detail": detail} for code, detail in errors
            ]
        },
        status=status,
    )


def _code_of(error: BackupsRemoteError) -> str:
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
