"""Signs the URLs of all parts of an upload at once (SigV4 query signing).

The algorithm is AWS's "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
What the URLs have in common (signing key, scope, the canonical request around the part number) is
computed once. Each part costs one hash, one HMAC and one string.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    import datetime as dt

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The credentials that sign. They are kept out of the repr."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PresignTarget:
    """The address of a bucket.

    ``base_url`` is the scheme, the host and, in path style, ``/bucket``: encoded, and without a
    trailing slash. ``host`` is the Host header: what ``base_url`` names, with the port unless it is
    the scheme's default.
    """

    base_url: str
    host: str
    base_path: str
    region: str


def presign_part_urls(
    target: PresignTarget,
    signing_key: SigningKey,
    *,
    key: str,
    upload_id: str,
    count: int,
    first: int = 1,
    expires: int,
    now: dt.datetime,
) -> list[str]:
    """A presigned UploadPart URL for each of ``count`` parts from number ``first`` on.

    ``expires`` is in seconds, ``now`` in UTC. Only the Host header is signed: the node may send any
    content type.
    """
    date = f"{now:%Y%m%d}"
    timestamp = f"{now:%Y%m%dT%H%M%SZ}"
    scope = f"{date}/{target.region}/s3/aws4_request"
    encoded_key = quote(key, safe="/~")

    token = f"&X-Amz-Security-Token={_encode(signing_key.session_token)}"
    # In the order of the canonical query string: sorted by name, "X-Amz-…" before "partNumber".
    before = (
        f"X-Amz-Algorithm={_ALGORITHM}"
        f"&X-Amz-Credential={_encode(f'{signing_key.access_key}/{scope}')}"
        f"&X-Amz-Date={timestamp}"
        f"&X-Amz-Expires={expires}"
        f"{token if signing_key.session_token else ''}"
        f"&X-Amz-SignedHeaders=host&partNumber="
    )
    after = f"&uploadId={_encode(upload_id)}"

    canonical_start = hashlib.sha256(f"PUT\n{target.base_path}/{encoded_key}\n{before}".encode())
    canonical_end = f"{after}\nhost:{target.host}\n\nhost\nUNSIGNED-PAYLOAD".encode()
    to_sign_start = f"{_ALGORITHM}\n{timestamp}\n{scope}\n".encode()
    url_start = f"{target.base_url}/{encoded_key}?{before}"
    url_end = f"{after}&X-Amz-Signature="
    signer = _derive(signing_key.secret_key, date, target.region)

    urls = []
    for number in range(first, first + count):
        canonical = canonical_start.copy()
        canonical.update(b"%d%b" % (number, canonical_end))
        to_sign = to_sign_start + canonical.hexdigest().encode()
        signature = hmac.digest(signer, to_sign, "sha256").hex()
        urls.append(f"{url_start}{number}{url_end}{signature}")
    return urls


def _derive(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
