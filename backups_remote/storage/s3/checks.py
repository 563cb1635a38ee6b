"""System checks of a disk on an S3-compatible store.

| id | problem |
| --- | --- |
| ``backups_remote.E101`` | the disk names no bucket |
| ``backups_remote.E102`` | the disk uses SSE-C, whose headers nodes do not send |
| ``backups_remote.E103`` | the store does not answer |
| ``backups_remote.E104`` | the storage class computes where the disk is |
| ``backups_remote.E105`` | the disk sets an object parameter whose header nodes do not send |
| ``backups_remote.E106`` | the disk names a kind of bucket that URLs cannot upload to |
| ``backups_remote.E107`` | the disk sets unknown object parameters |
| ``backups_remote.E108`` | the disk has an option of a wrong type, or one that botocore refuses |
| ``backups_remote.E109`` | the disk's location cannot be the beginning of keys |
| ``backups_remote.E110`` | the disk uses a client certificate, which nodes do not have |
| ``backups_remote.E111`` | no upload can be begun |
| ``backups_remote.E112`` | a node's upload fails |
| ``backups_remote.E113`` | the parts of an upload cannot be listed |
| ``backups_remote.E114`` | an upload cannot be aborted |
| ``backups_remote.E115`` | an object cannot be looked for |
| ``backups_remote.E116`` | the panel's clock, or the store's, is off |
| ``backups_remote.E117`` | the bucket is in another region than the disk names |
| ``backups_remote.W101`` | the disk names neither a region nor an endpoint |
| ``backups_remote.W102`` | the credentials are temporary, and upload URLs expire with them |
| ``backups_remote.W103`` | the store drops unfinished uploads before this app expires them |
| ``backups_remote.W104`` | the access key may not list unfinished uploads |
| ``backups_remote.W105`` | only the panel uses a proxy, or a CA of its own |
| ``backups_remote.W106`` | archives are stored in a class from which nothing can be fetched |
| ``backups_remote.W107`` | the access key cannot see that an object is missing |
| ``backups_remote.W108`` | the panel does not reach the endpoint that nodes use |
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from django.core import checks
from storages.backends.s3 import S3Storage

from backups_remote.conf import app_settings
from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage.s3.differences import Call, Means, uploads_dropped_after
from backups_remote.storage.s3.errors import code_of, means, translated_errors
from backups_remote.storage.s3.options import check_options
from backups_remote.storage.s3.place import computed_attributes
from backups_remote.storage.s3.trial import clock_problem, headers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import boto3
    from django.core.checks import CheckMessage
    from mypy_boto3_s3.client import S3Client

    from backups_remote.storage.s3.clients import Clients

_HINTS: Final[Mapping[str, str]] = {
    "NoSuchBucket": "Make the bucket, or correct OPTIONS['bucket_name'].",
    "InvalidAccessKeyId": "The store does not know the access key: correct it.",
    "SignatureDoesNotMatch": "The secret key differs from the store's: correct it.",
}


def check_configuration(alias: str, storage: Any) -> list[CheckMessage]:
    """Check a disk's OPTIONS, without network."""
    messages: list[CheckMessage] = []
    if not storage.bucket_name:
        messages.append(
            checks.Error(
                f"The disk {alias!r} names no bucket.",
                hint="Set OPTIONS['bucket_name'] of the STORAGES alias.",
                id="backups_remote.E101",
            )
        )
    messages += check_options(alias, storage)
    if computed := computed_attributes(storage):
        messages.append(
            checks.Error(
                f"The storage class of the disk {alias!r} computes at each access: "
                f"{', '.join(computed)}.",
                hint="A disk is in one place: a sweep has no tenant and no request. Make a "
                "STORAGES alias for each place, and choose it with Server.disk or Node.disk.",
                id="backups_remote.E104",
            )
        )
    if not any(message.is_serious() for message in messages) and not _names_its_region(storage):
        messages.append(
            checks.Warning(
                f"The disk {alias!r} names neither a region nor an endpoint.",
                hint="Set OPTIONS['region_name'] of the STORAGES alias to the bucket's region: "
                "nodes cannot follow a redirect with a URL signed for another.",
                id="backups_remote.W101",
            )
        )
    return messages


def check_store(
    alias: str, clients: Callable[[], Clients], bucket: str, prefix: str
) -> list[CheckMessage]:
    """Ask the store for its bucket, and check its credentials, its permissions and its limits."""
    try:
        with translated_errors("a check of the bucket"):
            built = clients()
            headers = _ask_for_bucket(built.quick, bucket)
            dropped_after = _dropped_after(built.quick, bucket, prefix, headers.get("server", ""))
            return [
                *_refuse_another_region(alias, built.quick, bucket, headers),
                *_warn_of_temporary_credentials(alias, built),
                *_warn_of_dropped_uploads(alias, dropped_after),
                *_warn_of_lists_refused(alias, built.quick, bucket, prefix),
            ]
    except StorageUnavailable as error:
        cause = error.__cause__
        code = code_of(cause) if isinstance(cause, ClientError) else ""
        problem = clock_problem(alias, headers_of(error))
        return [
            problem
            or checks.Error(
                f"The disk {alias!r} cannot be reached: {error}",
                hint=_HINTS.get(code, "Check its endpoint, region, bucket and credentials."),
                id="backups_remote.E103",
            )
        ]


def _ask_for_bucket(client: S3Client, bucket: str) -> Mapping[str, str]:
    """The headers of the answer to HeadBucket; none if the key may not list the bucket.

    An error answer to HEAD has no body and so no code: another call is asked for it.
    """
    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError:
        try:
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError as error:
            # A key without s3:ListBucket: what it lacks besides, the upload on trial tells.
            if code_of(error) != "AccessDenied":
                raise
            return {}
        raise
    headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers


def _refuse_another_region(
    alias: str, client: S3Client, bucket: str, headers: Mapping[str, str]
) -> Iterator[CheckMessage]:
    """The panel's own calls are redirected by botocore; a node's URL is signed for one region."""
    theirs = headers.get("x-amz-bucket-region")
    ours = client.meta.region_name
    is_amazon = ".amazonaws.com" in client.meta.endpoint_url
    if is_amazon and theirs is not None and theirs != ours:
        yield checks.Error(
            f"The bucket {bucket} of the disk {alias!r} is in the region {theirs}, and the disk "
            f"names {ours}: nodes are answered 400.",
            hint=f"Set OPTIONS['region_name'] of the STORAGES alias to {theirs!r}.",
            id="backups_remote.E117",
        )


def _warn_of_temporary_credentials(alias: str, clients: Clients) -> Iterator[CheckMessage]:
    if not clients.are_temporary:
        return
    left = clients.credentials_left()
    when = "at an unknown time"
    if left is not None:
        when = f"in {int(left.total_seconds() // 60)} minutes"
    yield checks.Warning(
        f"The disk {alias!r} signs with temporary credentials, which expire {when}: "
        "the upload URLs that they signed expire with them, whatever their own lifespan.",
        hint="Use access keys that do not expire, or credentials that last longer than the "
        "longest upload.",
        id="backups_remote.W102",
    )


def _warn_of_dropped_uploads(alias: str, kept_for: dt.timedelta | None) -> Iterator[CheckMessage]:
    needed = app_settings.stale_after + app_settings.url_lifespan(app_settings.largest_size)
    if kept_for is None or kept_for >= needed:
        return
    yield checks.Warning(
        f"The store of the disk {alias!r} drops an unfinished upload after {_hours(kept_for)}. "
        f"URL lifespan and STALE_AFTER add up to {_hours(needed)} for the largest archives: the "
        "store may drop an upload before its node reports it or the sweep recovers it.",
        hint="Have the store keep unfinished uploads for longer, or shorten STALE_AFTER or "
        "URL_LIFESPAN: the store must keep uploads for at least their sum. A store's own setting "
        "(MinIO: stale_uploads_expiry) cannot be seen from here: if it is raised already, silence "
        "this warning with SILENCED_SYSTEM_CHECKS.",
        id="backups_remote.W103",
    )


def _warn_of_lists_refused(
    alias: str, client: S3Client, bucket: str, prefix: str
) -> Iterator[CheckMessage]:
    try:
        client.list_multipart_uploads(Bucket=bucket, Prefix=prefix, MaxUploads=1)
    except ClientError as error:
        # Any other error is a fault of the moment, or a dialect that a real list copes with.
        if means(error, Call.LIST_UPLOADS) is not Means.NOT_LISTED:
            return
        yield checks.Warning(
            f"The store of the disk {alias!r} refuses to list unfinished uploads "
            f"({code_of(error)}).",
            hint="Allow s3:ListBucketMultipartUploads on the bucket: without it the sweep cannot "
            "find the uploads that no backup owns, and on some stores a node may get URLs of an "
            "upload that has ended.",
            id="backups_remote.W104",
        )


def _dropped_after(client: S3Client, bucket: str, prefix: str, server: str) -> dt.timedelta | None:
    """The shorter of the times after which a rule of the bucket and the store drop an upload."""
    known = [_dropped_by_rule(client, bucket, prefix), uploads_dropped_after(server)]
    return min((duration for duration in known if duration is not None), default=None)


def _dropped_by_rule(client: S3Client, bucket: str, prefix: str) -> dt.timedelta | None:
    """After how long the bucket's own lifecycle rules abort an upload; None if unknown or never.

    Only rules that can apply to keys under ``prefix`` count.

    Stores without such rules may answer anything, and restricted keys may not ask.
    """
    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", ())
    except (ClientError, BotoCoreError, KeyError, ValueError):
        return None
    days = [
        rule["AbortIncompleteMultipartUpload"].get("DaysAfterInitiation", 0)
        for rule in rules
        if rule.get("Status") == "Enabled"
        and "AbortIncompleteMultipartUpload" in rule
        and _is_about(rule, prefix)
    ]
    return dt.timedelta(days=min(days)) if days else None


def _is_about(rule: Mapping[str, Any], prefix: str) -> bool:
    """Whether a lifecycle rule applies to any key under ``prefix``."""
    only = rule.get("Filter") or {}
    wanted = only.get("Prefix") or only.get("And", {}).get("Prefix") or rule.get("Prefix") or ""
    return prefix.startswith(wanted) or wanted.startswith(prefix)


def _hours(duration: dt.timedelta) -> str:
    return f"{duration.total_seconds() / 3600:g} hours"


def _names_its_region(storage: Any) -> bool:
    """Whether options, environment or profile name the region or endpoint. No network."""
    if storage.endpoint_url or storage.region_name or storage.client_config.region_name:
        return True
    if type(storage)._create_session is not S3Storage._create_session:  # noqa: SLF001
        # The subclass's own session may have a region; making it may need the network.
        return True
    try:
        session: boto3.Session = storage._create_session()  # noqa: SLF001
        if session.region_name:
            return True
        # With keys given, even wrong ones, botocore looks for no others.
        client = session.client(
            "s3",
            aws_access_key_id="-",
            aws_secret_access_key="-",  # noqa: S106
        )
    except BotoCoreError:
        return True
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return not host.endswith(".amazonaws.com")
