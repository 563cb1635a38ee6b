"""Error answers in the daemon's envelope: ``{"errors": [{"code", "status", "detail"}]}``, strings.

For this app's views only. The host project's EXCEPTION_HANDLER is not involved.
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
    DaemonError,
    InvalidValue,
    ReportRefused,
    StorageError,
    TryAgain,
    UploadsNotSupported,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: The first class that matches decides.
STATUSES: Final[tuple[tuple[type[BackupsRemoteError], int], ...]] = (
    (BackupNotFound, 404),
    (BackupConflict, 409),
    (ReportRefused, 400),
    (InvalidValue, 400),
    (UploadsNotSupported, 400),
    (TryAgain, 503),
    (StorageError, 503),
    (DaemonError, 503),
)


def error_response(error: Exception, *, conflict_status: int = 409) -> Response | None:
    """The answer to an error, or None for an unexpected one.

    ``conflict_status`` is the endpoint's status for a call that the backup's state does not allow:
    409 for one endpoint, 400 for another.
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


def details_of(error: drf.APIException) -> list[str]:
    """What is wrong, in sentences, as the answer says it."""
    return [detail for _, detail in _flatten(error.get_full_details())]


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
    """Code and message of each of REST framework's nested details, prefixed with its field."""
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
