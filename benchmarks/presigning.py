"""Bulk presigning: this package, boto3, and the floor of one hash and one HMAC per URL."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import sys
import tracemalloc
import uuid

import boto3
from botocore.config import Config

from backups_remote.storage.s3.presign import PresignTarget, SigningKey, presign_part_urls
from benchmarks.figures import Figure, Section, milliseconds
from benchmarks.timing import side_by_side

PARTS = 10_000
BUCKET, REGION, HOST = "backups", "eu-central-1", "s3.eu-central-1.example.com"
KEY = f"panel/{uuid.uuid4()}/{uuid.uuid4()}.tar.gz"
UPLOAD_ID = "2~" + "x" * 60
SECRET = "s" * 40
EXPIRES = 86_400

# The canonical request and the string to sign of such an upload.
_START = (
    f"PUT\n/{BUCKET}/{KEY}\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
    f"AKIAXXXXXXXXXXXXXXXX%2F20261123%2F{REGION}%2Fs3%2Faws4_request&X-Amz-Date=20261123T120000Z"
    f"&X-Amz-Expires={EXPIRES}&X-Amz-SignedHeaders=host&partNumber="
).encode()
_END = f"&uploadId={UPLOAD_ID}\nhost:{HOST}\n\nhost\nUNSIGNED-PAYLOAD".encode()
_TO_SIGN = f"AWS4-HMAC-SHA256\n20261123T120000Z\n20261123/{REGION}/s3/aws4_request\n".encode()


def floor(count: int = PARTS) -> list[str]:
    """One SHA-256 and one HMAC per part, and nothing else. The common prefix is hashed once."""
    start = hashlib.sha256(_START)
    key = hashlib.sha256(SECRET.encode()).digest()
    signatures = []
    for number in range(1, count + 1):
        canonical = start.copy()
        canonical.update(b"%d" % number + _END)
        to_sign = _TO_SIGN + canonical.hexdigest().encode()
        signatures.append(hmac.digest(key, to_sign, "sha256").hex())
    return signatures


def ours(count: int = PARTS) -> list[str]:
    """This package's signing."""
    target = PresignTarget(f"https://{HOST}/{BUCKET}", HOST, f"/{BUCKET}", REGION)
    return presign_part_urls(
        target,
        SigningKey("A" * 20, SECRET),
        key=KEY,
        upload_id=UPLOAD_ID,
        count=count,
        expires=EXPIRES,
        now=dt.datetime.now(dt.UTC),
    )


def boto(count: int = PARTS) -> list[str]:
    """boto3, as its manual shows."""
    return [
        _client.generate_presigned_url(
            "upload_part",
            Params={"Bucket": BUCKET, "Key": KEY, "UploadId": UPLOAD_ID, "PartNumber": number},
            ExpiresIn=EXPIRES,
        )
        for number in range(1, count + 1)
    ]


_client = boto3.client(
    "s3",
    region_name=REGION,
    endpoint_url=f"https://{HOST}",
    aws_access_key_id="A" * 20,
    aws_secret_access_key=SECRET,
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)


def memory() -> tuple[int, int]:
    """Peak bytes while the URLs are made, and bytes of the strings themselves."""
    tracemalloc.start()
    urls = ours()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, sum(map(sys.getsizeof, urls))


def run(progress) -> Section:
    """Times beside the floor and boto3, and peak memory."""
    cheap = side_by_side({"ours": ours, "floor": floor}, rounds=15)
    progress("ours and the floor")
    dear = side_by_side({"ours": ours, "boto3": boto}, on_round=lambda: progress("boto3"))
    peak, strings = memory()
    section = Section(f"Presigning {PARTS:,} part URLs")
    section.figures += [
        Figure(
            "Time, beside the bare SHA-256 and HMAC",
            cheap.ratio("ours", "floor"),
            1.5,
            milliseconds(cheap["ours"]),
            f"{milliseconds(cheap['floor'])} floor",
        ),
        Figure(
            "Times faster than boto3",
            dear.ratio("boto3", "ours"),
            40,
            milliseconds(dear["ours"]),
            f"{milliseconds(dear['boto3'])} boto3",
            at_least=True,
        ),
        Figure(
            "Memory, beside the strings themselves",
            peak / strings,
            1.2,
            f"{peak / 1e6:.2f} MB",
            f"{strings / 1e6:.2f} MB strings",
        ),
    ]
    return section
