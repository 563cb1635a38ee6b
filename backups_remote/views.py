"""The endpoints: parse → one lifecycle call → answer.

They are independent of the host project's settings of REST framework.
"""

from __future__ import annotations

import contextlib
import functools
import json
from typing import IO, TYPE_CHECKING, Any, ClassVar, cast

from django.utils import translation
from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from backups_remote import lifecycle
from backups_remote.actors import ActorKind, acting_as
from backups_remote.bodies import NodeRequest
from backups_remote.conf import app_settings
from backups_remote.error_responses import details_of, error_response
from backups_remote.exceptions import BackupNotFound
from backups_remote.models import Node
from backups_remote.serializers import (
    DeletionSerializer,
    PartsRequestSerializer,
    ReportSerializer,
    RestoreSerializer,
    UploadRequestSerializer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.request import Request


class DaemonJSONParser(BaseParser):
    """Strict JSON, whatever the content type."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        try:
            # From bytes, json would also accept UTF-16 and lone surrogates. No field that counts
            # takes a NaN.
            data = json.loads(stream.read().decode())
        except (ValueError, RecursionError):
            raise ParseError("The body is not valid JSON.") from None
        if not isinstance(data, dict):
            raise ParseError("The body is not a JSON object.")
        return data


class DaemonJSONRenderer(BaseRenderer):
    """Compact ASCII JSON, whatever the Accept header."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,  # noqa: ARG002
        renderer_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> bytes:
        return b"" if data is None else json.dumps(data, separators=(",", ":")).encode()


class IgnoreAccept(BaseContentNegotiation):
    """Daemons accept vendor types of their own, and read JSON."""

    def select_parser(self, request: Request, parsers: Sequence[BaseParser]) -> BaseParser:  # type: ignore[override]  # noqa: ARG002
        return parsers[0]

    def select_renderer(  # type: ignore[override]
        self,
        request: Request,  # noqa: ARG002
        renderers: Sequence[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type or ""


class IsNode(BasePermission):
    """The caller authenticated as a node."""

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        return isinstance(request.auth, Node)


class RemoteView(APIView):
    """Base of the endpoints."""

    permission_classes = (IsNode,)
    parser_classes = (DaemonJSONParser,)
    renderer_classes = (DaemonJSONRenderer,)
    throttle_classes = ()
    content_negotiation_class = IgnoreAccept
    metadata_class = None
    versioning_class = None
    # The host project's own API description leaves them out; docs/openapi.yaml describes them.
    schema = None
    # No HEAD: it would begin an upload, as GET does.
    http_method_names = ["get", "post"]
    #: Method → the status if the backup's state does not allow the call.
    conflict_statuses: ClassVar[Mapping[str, int]] = {"GET": 409, "POST": 400}

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Forbid caching of all answers, errors included: a cache must not keep a node's URLs."""
        return {**super().default_response_headers, "Cache-Control": "private, no-store"}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer in English whatever the project's language: details end in daemons' logs."""
        with translation.override("en"):
            return super().dispatch(request, *args, **kwargs)

    def initialize_request(self, request: HttpRequest, *_: Any, **__: Any) -> NodeRequest:
        """REST framework's request, with a body of any framing."""
        return NodeRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def get_authenticators(self) -> list[BaseAuthentication]:
        """The classes of the setting ``AUTHENTICATION_CLASSES``."""
        return [import_string(path)() for path in app_settings.authentication_classes]

    def handle_exception(self, exc: Exception) -> Response:
        """Answer in the error envelope. Unexpected errors are left to the host project."""
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


def acting_as_node(handler: Callable[..., Response]) -> Callable[..., Response]:
    """Name the calling node as the actor of what the handler changes, and note that it called."""

    @functools.wraps(handler)
    def named(self: RemoteView, request: Request, **route: str) -> Response:
        node = _node(request)
        lifecycle.node_heard(node)
        with acting_as(ActorKind.NODE, node.name):
            return handler(self, request, **route)

    return named


class BackupView(RemoteView):
    """GET and POST /backups/{backup}, for the node that makes the backup."""

    @acting_as_node
    def get(self, request: Request, backup: str) -> Response:
        """Answer with the URLs for an archive of ``size`` bytes."""
        query = UploadRequestSerializer.parse(request.query_params.dict())
        found = lifecycle.find_backup_made_by(_node(request), backup)
        ticket = lifecycle.request_upload(found, query["size"])
        answer: dict[str, Any] = {"parts": ticket.urls, "part_size": ticket.part_size}
        if app_settings.max_concurrent_uploads is not None:
            answer["max_concurrent_uploads"] = app_settings.max_concurrent_uploads
        return Response(answer)

    @acting_as_node
    def post(self, request: Request, backup: str) -> Response:
        """Record the node's report: the backup is finished, or has failed."""
        with _refusal_remembered(_node(request), backup):
            report = ReportSerializer.parse_report(request.data)
        found = lifecycle.find_backup_made_by(_node(request), backup)
        lifecycle.record_report(found, report)
        return Response(status=204)


class PartsView(RemoteView):
    """GET /backups/{backup}/s3/parts, for a node that streams its archive."""

    @acting_as_node
    def get(self, request: Request, backup: str) -> Response:
        """Answer with the URLs for the parts from number ``from_part`` on."""
        query = PartsRequestSerializer.parse(request.query_params.dict())
        found = lifecycle.find_backup_made_by(_node(request), backup)
        ticket = lifecycle.request_parts(found, query["from_part"])
        return Response({"parts": ticket.urls, "part_size": ticket.part_size})


class RestoreView(RemoteView):
    """POST /backups/{backup}/restore, for the node that has the backup's server."""

    @acting_as_node
    def post(self, request: Request, backup: str) -> Response:
        """Record the end of a restore: it clears the server's restoring status."""
        said = RestoreSerializer.parse(request.data)
        found = lifecycle.find_backup_restorable_on(_node(request), backup)
        lifecycle.record_restore(found, successful=said["successful"], onto=said.get("server_uuid"))
        return Response(status=204)


class DeletionView(RemoteView):
    """POST /backups/{backup}/deletion, for the node that made the backup."""

    @acting_as_node
    def post(self, request: Request, backup: str) -> Response:
        """Record whether the node deleted the archive from its own disk."""
        said = DeletionSerializer.parse(request.data)
        found = lifecycle.find_backup_made_by(_node(request), backup)
        lifecycle.record_deletion(found, successful=said["successful"])
        return Response(status=204)


class RestartView(RemoteView):
    """POST /servers/reset: a daemon has started, and knows nothing of what it did before."""

    @acting_as_node
    def post(self, request: Request) -> Response:
        """End the node's restores, and have its uploads judged by the next sweep."""
        lifecycle.node_restarted(_node(request))
        return Response(status=204)


@contextlib.contextmanager
def _refusal_remembered(node: Node, backup: str) -> Iterator[None]:
    """Remember why a report of ``node`` about ``backup`` is answered with a 4xx, if that is so."""
    try:
        yield
    except APIException as error:
        if error.status_code < 500:  # noqa: PLR2004
            with contextlib.suppress(BackupNotFound):
                found = lifecycle.find_backup_made_by(node, backup)
                # safeguard: unreadable-report-remembered
                lifecycle.record_refusal(found, " ".join(details_of(error)))
        raise


def _node(request: Request) -> Node:
    return cast("Node", request.auth)
