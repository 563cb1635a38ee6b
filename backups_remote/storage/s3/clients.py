"""The boto clients of a disk, and how its part URLs are signed."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError

from backups_remote.exceptions import StorageUnavailable
from backups_remote.storage.s3.presign import PresignTarget, SigningKey, presign_part_urls

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3.client import S3Client

logger = logging.getLogger(__name__)

#: In seconds, as the next two. Longer ones of ``client_config`` are kept.
CONNECT_TIMEOUT: Final = 5
READ_TIMEOUT: Final = 10
#: Some stores take minutes to complete a large upload.
COMPLETE_TIMEOUT: Final = 120
_POOL_SIZE: Final = 64
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Clients:
    """The clients of a disk, and how its part URLs are signed.

    ``public_endpoint`` is where nodes reach the store: URLs are signed for it. The panel's own
    calls go to the endpoint of the storage.
    """

    def __init__(self, storage: Any, *, public_endpoint: str | None = None) -> None:
        # A subclass may make its own session, such as one that assumes a role.
        session: boto3.Session = storage._create_session()  # noqa: SLF001
        credentials = session.get_credentials()
        if credentials is None:
            # They may arrive later, and a client that was built without never looks again.
            raise StorageUnavailable("There are no credentials for the store.")
        self._credentials = credentials
        # A Config has a value for each of its options, whether it was given or not.
        told = getattr(storage.client_config, "_user_provided_options", {})

        def client(
            read_timeout: int, attempts: int, endpoint: str | None = storage.endpoint_url
        ) -> S3Client:
            ours = Config(
                signature_version="s3v4",
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=max(CONNECT_TIMEOUT, told.get("connect_timeout") or 0),
                read_timeout=max(read_timeout, told.get("read_timeout") or 0),
                retries={"mode": "standard", "total_max_attempts": attempts},
                max_pool_connections=_POOL_SIZE,
                tcp_keepalive=True,
            )
            made = session.client(
                "s3",
                region_name=storage.region_name,
                use_ssl=storage.use_ssl,
                endpoint_url=endpoint,
                verify=storage.verify,
                config=storage.client_config.merge(ours),
            )
            made.meta.events.register("provide-client-params.s3", _presign_for_the_region)
            return made

        self.quick = client(READ_TIMEOUT, attempts=2)
        self.patient = client(COMPLETE_TIMEOUT, attempts=1)  # safeguard: complete-never-retried
        #: Makes no call: it signs what nodes are given.
        self.signing = self.quick
        if public_endpoint is not None:
            self.signing = client(READ_TIMEOUT, attempts=1, endpoint=public_endpoint)
        self._bucket = str(storage.bucket_name)
        self._target: PresignTarget | None = None
        self._is_target_known = False

    @property
    def target(self) -> PresignTarget | None:
        """Where botocore sends this bucket's uploads; None if it has to sign them itself.

        A fault of the credentials leaves that open: the next call looks again.
        """
        if not self._is_target_known:
            try:
                self._target = self._find_target(self._bucket)
            except BotoCoreError:
                return None
            self._is_target_known = True
        return self._target

    def signing_key(self) -> SigningKey:
        """The current credentials; botocore renews temporary ones."""
        frozen = self._credentials.get_frozen_credentials()
        return SigningKey(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    def seconds_to_sign_for(self, lifespan: dt.timedelta) -> int:
        """``lifespan`` in seconds, or the remaining life of the credentials if that is shorter.

        A store refuses a URL once the credentials that signed it have expired, whatever the URL
        says (Amazon S3 user guide, "Download and upload objects with presigned URLs").
        """
        # This call has botocore renew credentials that are about to expire.
        self._credentials.get_frozen_credentials()
        left = self.credentials_left()
        wanted = lifespan if left is None else min(lifespan, left)
        return max(int(wanted.total_seconds()), 1)

    def credentials_left(self) -> dt.timedelta | None:
        """The remaining life of the credentials; None if they do not expire, or do not say when."""
        ends_at: dt.datetime | None = getattr(self._credentials, "_expiry_time", None)
        return None if ends_at is None else ends_at - dt.datetime.now(dt.UTC)

    @property
    def are_temporary(self) -> bool:
        """Whether the credentials came with a session token, which always ends."""
        return bool(self._credentials.get_frozen_credentials().token)

    def botocore_url(self, bucket: str, key: str, upload_id: str, number: int, expires: int) -> str:
        """The URL of one part, signed by botocore."""
        return self.presigned(
            "upload_part",
            {"Bucket": bucket, "Key": key, "UploadId": upload_id, "PartNumber": number},
            expires,
        )

    def presigned(self, operation: str, parameters: dict[str, Any], expires: int) -> str:
        """A URL that botocore signs, valid for ``expires`` seconds.

        It is for the host that the panel's own calls for this bucket go to, and names it as it is
        signed: in lower case and without the scheme's default port, however the endpoint is
        written. Some clients, Go's among them, send what the URL names as their Host header.
        """
        url = urlsplit(
            self.signing.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires)
        )
        host = url.netloc.lower().removesuffix(_DEFAULT_PORTS[url.scheme])
        return url._replace(netloc=host).geturl()

    def _find_target(self, bucket: str) -> PresignTarget | None:
        """Where botocore sends this bucket's uploads; None if our signature differs from its own.

        What our signing does not support (another signer, an accelerated or dual-stack endpoint
        that signs otherwise, an ARN as the bucket) shows as a difference: botocore signs then.
        """
        key, upload_id, expires = "probe/\N{SNOWMAN} ~+", "a/b=+", 3600
        try:
            theirs = self.botocore_url(bucket, key, upload_id, 1, expires)
            target = _target_of(theirs, key)
            date = dict(parse_qsl(urlsplit(theirs).query))["X-Amz-Date"]
            now = dt.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
            ours = presign_part_urls(
                target,
                self.signing_key(),
                key=key,
                upload_id=upload_id,
                count=1,
                expires=expires,
                now=now,
            )[0]
        except (KeyError, ValueError):
            return None
        if _with_sorted_query(ours) == _with_sorted_query(theirs):
            return target
        logger.info("Part URLs for bucket %s are signed by botocore, one by one.", bucket)
        return None


def _presign_for_the_region(context: dict[str, Any], **_: Any) -> None:
    """Have botocore sign URLs for the region's host, which its other calls go to.

    By default it signs them for the global one, which answers for us-east-1 alone: it redirects
    requests for buckets of other regions, to a host that was not signed, or refuses them. In
    the context of any other call, this entry has no effect.
    """
    context["use_global_endpoint"] = False


def _target_of(url: str, key: str) -> PresignTarget:
    parts = urlsplit(url)
    encoded = f"/{quote(key, safe='/~')}"
    if not parts.path.endswith(encoded):
        raise ValueError(parts.path)
    base_path = parts.path.removesuffix(encoded)
    region = dict(parse_qsl(parts.query))["X-Amz-Credential"].split("/")[-3]
    return PresignTarget(
        base_url=f"{parts.scheme}://{parts.netloc}{base_path}",
        host=parts.netloc,
        base_path=base_path,
        region=region,
    )


def _with_sorted_query(url: str) -> tuple[str, list[str]]:
    start, _, query = url.partition("?")
    return start, sorted(query.split("&"))
