"""A trial upload, for ``check --deploy``: begun, sent as a node would, listed and aborted.

Nothing is left behind, and no object is made. Each step that fails is reported, with the store's
answer: a node would fail in the same way.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import ClientError
from django.core import checks

from backups_remote.exceptions import StorageError, StorageRefused
from backups_remote.storage.s3.parameters import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django.core.checks import CheckMessage

    from backups_remote.storage.base import StorageBackend

_LIFESPAN: Final = dt.timedelta(minutes=5)
#: Seconds for a PUT of one byte.
_TIMEOUT: Final = 10
#: Stores refuse signatures that are 15 minutes off; nodes' clocks add to that.
_LARGEST_SKEW: Final = dt.timedelta(minutes=5)
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_HINTS: Final[Mapping[str, str]] = {
    "AccessDenied": "The access key may lack s3:PutObject.",
    "InvalidRequest": "The bucket may have a retention period of its own: an upload then needs a "
    "Content-MD5 header, which nodes do not send.",
    "SignatureDoesNotMatch": "Whatever is between the nodes and the store must pass the Host "
    "header and the path on as they are.",
}


def try_upload(backend: StorageBackend, *, is_public: bool) -> Iterator[CheckMessage]:
    """Begin, PUT, list, abort, and look for an object that is not there.

    ``is_public`` says that nodes use another endpoint than the panel.
    """
    key = backend.object_key(uuid.uuid4(), uuid.uuid4())
    try:
        upload_id = backend.create_upload(key, "trial")
    except StorageError as error:
        yield _failed(backend, "No upload can be begun", error, id="backups_remote.E111")
        return
    yield from _put(backend, key, upload_id, is_public=is_public)
    try:
        backend.list_parts(key, upload_id)
    except StorageError as error:
        yield _failed(
            backend, "The parts of an upload cannot be listed", error, id="backups_remote.E113"
        )
    try:
        backend.abort_upload(key, upload_id)
    except StorageError as error:
        yield _failed(
            backend,
            "An upload cannot be aborted, and was left behind",
            error,
            id="backups_remote.E114",
        )
    try:
        backend.stat(key)
    except StorageRefused as error:
        yield checks.Warning(
            f"The disk {backend.alias!r} does not show that an object is missing: {error}",
            hint="Allow s3:ListBucket on the bucket: without it, backups whose end is unclear wait "
            "for days.",
            id="backups_remote.W107",
        )
    except StorageError as error:
        yield _failed(backend, "An object cannot be looked for", error, id="backups_remote.E115")


def clock_problem(alias: str, headers: Mapping[str, str]) -> CheckMessage | None:
    """The error for a clock that is off, by the Date header of a store's answer."""
    try:
        stores = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    skew = _now() - stores.astimezone(dt.UTC)
    if abs(skew) < _LARGEST_SKEW:
        return None
    seconds = round(abs(skew).total_seconds())
    which = "ahead of" if skew > dt.timedelta(0) else "behind"
    return checks.Error(
        f"The panel's clock is {seconds:,} seconds {which} that of the store of the disk {alias!r} "
        f"({stores:%Y-%m-%d %H:%M:%S %Z}): its signatures are refused.",
        hint="Have both keep the time, by NTP for example.",
        id="backups_remote.E116",
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def headers_of(error: StorageError) -> Mapping[str, str]:
    """The headers of the store's answer that an error is about; none if it did not answer."""
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return {}
    headers: Mapping[str, str] = cause.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _put(
    backend: StorageBackend, key: str, upload_id: str, *, is_public: bool
) -> Iterator[CheckMessage]:
    try:
        [url] = backend.presign_parts(key, upload_id, 1, _LIFESPAN)
    except StorageError as error:
        yield _failed(backend, "No URL can be signed", error, id="backups_remote.E112")
        return
    host = urlsplit(url).netloc
    try:
        # As daemons do it: no proxy, no redirect, the Host that stands in the URL.
        with urllib3.PoolManager(timeout=_TIMEOUT) as pool:
            answer = pool.request(
                "PUT",
                url,
                body=b"\0",
                headers={"Content-Type": CONTENT_TYPE},
                redirect=False,
                retries=False,
            )
    except urllib3.exceptions.HTTPError as error:
        kind = type(error).__name__
        if is_public:
            yield checks.Warning(
                f"The panel cannot tell whether nodes reach the store of the disk "
                f"{backend.alias!r}: it does not reach {host} itself ({kind}).",
                hint="Try from a node: curl -I the address in PUBLIC_ENDPOINTS.",
                id="backups_remote.W108",
            )
        else:
            yield checks.Error(
                f"A node's upload to the disk {backend.alias!r} does not reach {host} ({kind}).",
                hint="The panel's own calls did: look at proxies and certificates that only the "
                "panel has.",
                id="backups_remote.E112",
            )
        return
    if answer.status == 200:  # noqa: PLR2004
        return
    if (problem := clock_problem(backend.alias, answer.headers)) is not None:
        yield problem
        return
    code = (_CODE.search(answer.data) or [b"", b""])[1].decode() or "no error code"
    yield checks.Error(
        f"A node's upload to the disk {backend.alias!r} is answered {answer.status} ({code}) by "
        f"{host}.",
        hint=_HINTS.get(code, "URLs are signed for this host and for the disk's region."),
        id="backups_remote.E112",
    )


def _failed(backend: StorageBackend, what: str, error: StorageError, *, id: str) -> CheckMessage:  # noqa: A002 - as Django names it
    problem = clock_problem(backend.alias, headers_of(error))
    return problem or checks.Error(
        f"{what} on the disk {backend.alias!r}: {error}",
        hint="docs/stores.md lists the permissions that the access key needs.",
        id=id,
    )
