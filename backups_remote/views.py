"""The three endpoints: parse → one lifecycle call → answer.

They stand on their own feet: the host project's DRF settings neither reach nor are needed by them.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, cast

from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from backups_remote import lifecycle
from backups_remote.conf import app_settings
from backups_remote.errors import error_response
from backups_remote.models import Node
from backups_remote.serializers import (
    ReportSerializer,
    RestoreSerializer,
    UploadRequestSerializer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rest_framework.authentication import BaseAuthentication
    from rest_framework.request import Request

#: A report of 10,000 parts is well under a megabyte; ETags of some stores are longer.
LARGEST_BODY: Final = 4 * 1024**2


class BodyTooLarge(APIException):
    """413: no report is that long."""

    status_code = 413
    default_detail = "The body is too large."
    default_code = "body_too_large"


class DaemonJSONParser(BaseParser):
    """JSON whatever the content type says, bounded, and strict about it."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """The body's object."""
        body = stream.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            raise BodyTooLarge
        try:
            # Bytes would be read as UTF-16 or with lone surrogates too.
            data = json.loads(body.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise ParseError("The body is not valid JSON.") from None
        if not isinstance(data, dict):
            raise ParseError("The body is not a JSON object.")
        return data


class DaemonJSONRenderer(BaseRenderer):
    """Compact ASCII JSON, the same under every Accept header."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,  # noqa: ARG002
        renderer_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> bytes:
        """The body's bytes; none at all for an empty answer."""
        return b"" if data is None else json.dumps(data, separators=(",", ":")).encode()


class IgnoreAccept(BaseContentNegotiation):
    """Daemons ask for vendor types of their own and read JSON."""

    def select_parser(self, request: Request, parsers: Sequence[BaseParser]) -> BaseParser:  # type: ignore[override]  # noqa: ARG002
        """The one parser."""
        return parsers[0]

    def select_renderer(  # type: ignore[override]
        self,
        request: Request,  # noqa: ARG002
        renderers: Sequence[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002
    ) -> tuple[BaseRenderer, str]:
        """The one renderer."""
        return renderers[0], renderers[0].media_type or ""


class IsNode(BasePermission):
    """Whoever calls proved to be a node."""

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        """Whether authentication found a node."""
        return isinstance(request.auth, Node)


class RemoteView(APIView):
    """What the endpoints share."""

    permission_classes = (IsNode,)
    parser_classes = (DaemonJSONParser,)
    renderer_classes = (DaemonJSONRenderer,)
    throttle_classes = ()
    content_negotiation_class = IgnoreAccept
    metadata_class = None
    versioning_class = None
    # No HEAD: it would do all that a GET does.
    http_method_names = ["get", "post"]
    #: The tables' codes for a backup whose state does not allow the call.
    conflict_statuses: ClassVar[Mapping[str, int]] = {"GET": 409, "POST": 400}

    @property
    def default_response_headers(self) -> dict[str, str]:
        """What every answer says, errors too: a site-wide cache must not keep one node's URLs."""
        return {**super().default_response_headers, "Cache-Control": "private, no-store"}

    def get_authenticators(self) -> list[BaseAuthentication]:
        """The classes of the setting ``AUTHENTICATION_CLASSES``."""
        return [import_string(path)() for path in app_settings.authentication_classes]

    def handle_exception(self, exc: Exception) -> Response:
        """Answer in the daemon's envelope; what nobody foresaw goes on to the host project."""
        challenge = self.get_authenticate_header(self.request)
        if isinstance(exc, APIException) and exc.status_code in {401, 403} and challenge:
            exc.status_code = 401
            exc.auth_header = challenge  # type: ignore[attr-defined]
        conflict_status = self.conflict_statuses.get(self.request.method or "", 409)
        response = error_response(exc, conflict_status=conflict_status)
        if response is None:
            raise exc
        response.exception = True
        return response


class BackupView(RemoteView):
    """GET and POST /backups/{backup}: a backup as the node that makes it sees it."""

    def get(self, request: Request, backup: str) -> Response:
        """Where to put an archive of ``size`` bytes."""
        query = UploadRequestSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found = lifecycle.find_backup_made_by(_node(request), backup)
        ticket = lifecycle.request_upload(found, query.validated_data["size"])
        answer: dict[str, Any] = {"parts": ticket.urls, "part_size": ticket.part_size}
        if app_settings.max_concurrent_uploads is not None:
            answer["max_concurrent_uploads"] = app_settings.max_concurrent_uploads
        return Response(answer)

    def post(self, request: Request, backup: str) -> Response:
        """A backup is finished, or failed."""
        body = ReportSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        found = lifecycle.find_backup_made_by(_node(request), backup)
        lifecycle.record_report(found, body.report)
        return Response(status=204)


class RestoreView(RemoteView):
    """POST /backups/{backup}/restore: a restore is over."""

    def post(self, request: Request, backup: str) -> Response:
        """Take the server's restoring status away."""
        body = RestoreSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        found = lifecycle.find_backup_restorable_on(_node(request), backup)
        lifecycle.record_restore(found, successful=body.validated_data["successful"])
        return Response(status=204)


def _node(request: Request) -> Node:
    return cast("Node", request.auth)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
