"""Which options of django-storages' S3Storage work for a disk, and which cannot.

A node uploads with a URL and one header of its own, ``Content-Type``: what needs another header can
never work. What the panel alone has, such as a proxy, does not help a node. Checked offline, by
botocore where it can tell.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from django.core import checks

from backups_remote.storage.s3.parameters import (
    ARCHIVE_CLASSES,
    CONTENT_TYPE,
    known_parameters,
    object_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

#: Object parameters whose headers every part would need: prefix → why.
_NEED_HEADERS: Final = {
    "ObjectLock": "stores want a Content-MD5 header for an object under a retention period",
    "RequestPayer": "every request has to say who pays",
    "ExpectedBucketOwner": "it would be compared for the first call of an upload only",
}
#: In bytes: what a store takes as a key, without "/<uuid>/<uuid>.tar.gz".
_LONGEST_LOCATION: Final = 1024 - (1 + 36 + 1 + 36 + 7)


def check_options(alias: str, storage: Any) -> Iterator[CheckMessage]:
    """What is wrong with a disk's OPTIONS, or does not do what one may expect of it."""
    wrong = [*_of_types(alias, storage)] or [*_of_parameters(alias, storage)]
    yield from wrong
    yield from _of_bucket(alias, storage)
    yield from _of_location(alias, storage)
    if not any(message.is_serious() for message in wrong):
        yield from _of_the_panel_alone(alias, storage)
        if storage.bucket_name:
            yield from _of_botocore(alias, storage)


def _of_types(alias: str, storage: Any) -> Iterator[CheckMessage]:
    """Options that would make the other checks raise errors."""
    for name, kind, optional in (
        ("bucket_name", str, True),
        ("access_key", str, True),
        ("secret_key", str, True),
        ("security_token", str, True),
        ("endpoint_url", str, True),
        ("region_name", str, True),
        ("object_parameters", dict, False),
        ("client_config", Config, False),
    ):
        value = getattr(storage, name, None)
        if not isinstance(value, kind) and not (optional and value is None):
            found = "None" if value is None else f"of type {type(value).__name__}"
            yield _refused(alias, f"{name} is {found}, not {kind.__name__}.")
    if isinstance(storage.endpoint_url, str) and "@" in storage.endpoint_url:
        yield _refused(alias, "endpoint_url has credentials in it: use access_key and secret_key.")


def _of_parameters(alias: str, storage: Any) -> Iterator[CheckMessage]:
    try:
        wanted = storage.get_object_parameters("backup.tar.gz")
    except Exception as error:  # noqa: BLE001 - a subclass may do anything
        yield _refused(alias, f"get_object_parameters() raises {type(error).__name__}.")
        return
    if not isinstance(wanted, dict):
        yield _refused(alias, f"get_object_parameters() returns {type(wanted).__name__}, not dict.")
        return
    metadata = wanted.get("Metadata", {})
    if not isinstance(metadata, dict):
        kind = "None" if metadata is None else f"of type {type(metadata).__name__}"
        yield _refused(alias, f"Metadata is {kind}, not dict.")
    elif not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        yield _refused(alias, "Metadata has names or values that are not str.")
    if any(name.startswith("SSECustomer") for name in wanted):
        yield checks.Error(
            f"The disk {alias!r} encrypts with a customer-provided key (SSE-C).",
            hint="Nodes upload without that key's headers: use SSE-S3 or SSE-KMS.",
            id="backups_remote.E102",
        )
    for name in wanted:
        why = next((why for word, why in _NEED_HEADERS.items() if name.startswith(word)), None)
        if why is not None:
            yield checks.Error(
                f"The disk {alias!r} sets {name}, and nodes send no header for it: {why}.",
                hint="Leave it out. A bucket policy, or a rule of the bucket, may do the same.",
                id="backups_remote.E105",
            )
    if unknown := sorted(wanted.keys() - known_parameters()):
        yield checks.Error(
            f"The disk {alias!r} sets unknown object parameters: {', '.join(unknown)}.",
            hint="They would be ignored. See boto3's create_multipart_upload for the names.",
            id="backups_remote.E107",
        )
    if wanted.get("StorageClass") in ARCHIVE_CLASSES:
        yield checks.Warning(
            f"The disk {alias!r} stores archives in the class {wanted['StorageClass']}, from which "
            "nothing can be fetched before it is thawed: every restore and download is refused.",
            hint="Use a class that answers at once, such as GLACIER_IR.",
            id="backups_remote.W106",
        )


def _of_bucket(alias: str, storage: Any) -> Iterator[CheckMessage]:
    bucket = storage.bucket_name
    if not isinstance(bucket, str):
        return
    kind = ""
    if bucket.endswith(("--x-s3", "--xa-s3")):
        kind = "a directory bucket (S3 Express), whose requests are signed for a session"
    elif bucket.startswith("arn:") and bucket.endswith(".mrap"):
        kind = "a multi-region access point, whose requests are signed in another way (SigV4A)"
    if kind:
        yield checks.Error(
            f"The disk {alias!r} names {kind}.",
            hint="Nodes cannot upload there with a URL: use a bucket, or an access point of one.",
            id="backups_remote.E106",
        )


def _of_location(alias: str, storage: Any) -> Iterator[CheckMessage]:
    location = getattr(storage, "location", "")
    problem = why_no_location(location)
    if problem:
        yield checks.Error(
            f"The disk {alias!r} has the location {location!r}: {problem}.",
            hint="Use a path such as 'backups' or 'panel/backups'.",
            id="backups_remote.E109",
        )


def why_no_location(location: Any) -> str:
    """Why a value cannot be the beginning of keys that are listed and found again; "" if it can."""
    if not isinstance(location, str):
        return f"it is of type {type(location).__name__}, not str"
    path = location.strip("/")
    if not path:
        return ""
    if posixpath.normpath(path) != path or ".." in path.split("/"):
        return "it is not in its normal form"
    if not path.isprintable():
        return "it has characters that cannot be printed"
    if len(path.encode(errors="replace")) > _LONGEST_LOCATION:
        return f"it is longer than {_LONGEST_LOCATION} bytes"
    return ""


def _of_the_panel_alone(alias: str, storage: Any) -> Iterator[CheckMessage]:
    config = storage.client_config
    if config.client_cert:
        yield checks.Error(
            f"The disk {alias!r} uses a client certificate, which nodes do not have.",
            hint="Let nodes reach the store without one, and leave it out here.",
            id="backups_remote.E110",
        )
    own = []
    if storage.verify is False:
        own.append("verify=False")
    elif isinstance(storage.verify, str):
        own.append("a CA of its own (verify)")
    if config.proxies:
        own.append("a proxy")
    if own:
        yield checks.Warning(
            f"The disk {alias!r} uses {' and '.join(own)}: only the panel does so. Nodes reach the "
            "store in their own way, and trust the CAs of their systems.",
            hint="Make sure that nodes reach the store and trust its certificate, and silence this "
            "warning.",
            id="backups_remote.W105",
        )


def _of_botocore(alias: str, storage: Any) -> Iterator[CheckMessage]:
    """What botocore says about the options and the call that begins an upload."""
    try:
        # With keys given, even wrong ones, botocore looks for no others: no network is used.
        client = boto3.Session(aws_access_key_id="-", aws_secret_access_key="-").client(  # noqa: S106
            "s3",
            region_name=storage.region_name or "us-east-1",
            use_ssl=storage.use_ssl,
            endpoint_url=storage.endpoint_url,
            config=storage.client_config,
        )
        parameters = object_parameters(storage, client, "backup.tar.gz", "mark")
        client.generate_presigned_url(
            "create_multipart_upload",
            Params={
                **parameters,
                "Bucket": storage.bucket_name,
                "Key": "backup.tar.gz",
                "ContentType": CONTENT_TYPE,
            },
        )
    except (BotoCoreError, ValueError, TypeError, AttributeError) as error:
        yield _refused(alias, str(error))


def _refused(alias: str, why: str) -> CheckMessage:
    return checks.Error(
        f"The disk {alias!r} has an option that cannot work: {why}",
        hint="Check the OPTIONS of the STORAGES alias.",
        id="backups_remote.E108",
    )
