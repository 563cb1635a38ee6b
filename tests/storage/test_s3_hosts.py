"""URLs name the host that the panel's own calls for the bucket go to, in every region."""

from __future__ import annotations

import datetime as dt
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from django.core.files.storage import storages

from tests.storage.test_s3_presign import ACCESS_POINT, make_backend

pytestmark = pytest.mark.once

SESSION = boto3.Session()
REGIONS = [
    (partition, region)
    for partition in SESSION.get_available_partitions()
    for region in SESSION.get_available_regions("s3", partition)
]
COMMERCIAL = [region for partition, region in REGIONS if partition == "aws"]
HOUR = dt.timedelta(hours=1)


class Sent(Exception):
    """Instead of sending it: the request that the panel sends."""


def sent_by(backend):
    """The URL of the UploadPart request that botocore sends, as botocore itself tells."""

    def stop(request, **_):
        raise Sent(request.url)

    client = backend._client
    client.meta.events.register("before-send.s3.UploadPart", stop)
    with pytest.raises(Sent) as sent:
        client.upload_part(
            Bucket=backend._bucket, Key="a key", UploadId="upload", PartNumber=1, Body=b"part"
        )
    client.meta.events.unregister("before-send.s3.UploadPart", stop)
    return urlsplit(str(sent.value))


def urls_of(backend):
    """A part's URL signed by us and by botocore, and a link."""
    (ours,) = backend.presign_parts("a key", "upload", 1, HOUR)
    theirs = backend._built.botocore_url(backend._bucket, "a key", "upload", 1, 3600)
    link = backend.download_url("a key", version_id="", filename="a.tar.gz", lifespan=HOUR)
    return [urlsplit(url) for url in (ours, theirs, link)]


def check(backend, region):
    """Where the URLs lead, and what they are signed for."""
    sent = sent_by(backend)
    for url in urls_of(backend):
        assert (url.scheme, url.netloc, url.path) == (sent.scheme, sent.netloc, sent.path)
        assert parse_qs(url.query)["X-Amz-Credential"][0].split("/")[2] == region
    return sent


@pytest.mark.parametrize(("partition", "region"), REGIONS, ids=[region for _, region in REGIONS])
def test_every_region(settings, partition, region):
    sent = check(make_backend(settings, region_name=region), region)
    # us-east-1 has no host of its own unless it is asked for.
    regional = f"backups.s3.{region}." if region != "us-east-1" else "backups.s3."
    assert sent.netloc.startswith(regional)


def test_every_region_is_known():
    """So that a botocore without its data does not make the test above pass for nothing."""
    assert len(COMMERCIAL) >= 30
    assert {"aws-cn", "aws-us-gov"} < {partition for partition, _ in REGIONS}


@pytest.mark.parametrize(
    ("region", "options", "host"),
    [
        ("eu-central-1", {"use_fips": True}, None),
        ("us-west-2", {"use_fips": True}, "backups.s3-fips.us-west-2.amazonaws.com"),
        ("us-gov-west-1", {"use_fips": True}, "backups.s3-fips.us-gov-west-1.amazonaws.com"),
        ("eu-south-1", {"dualstack": True}, "backups.s3.dualstack.eu-south-1.amazonaws.com"),
        ("cn-north-1", {"dualstack": True}, "backups.s3.dualstack.cn-north-1.amazonaws.com.cn"),
        ("us-west-2", {"accelerate": True}, "backups.s3-accelerate.amazonaws.com"),
        ("us-east-1", {"regional": True}, "backups.s3.us-east-1.amazonaws.com"),
    ],
)
def test_endpoints_of_other_kinds(settings, region, options, host):
    s3 = {
        **({"use_accelerate_endpoint": True} if "accelerate" in options else {}),
        **({"us_east_1_regional_endpoint": "regional"} if "regional" in options else {}),
    }
    config = Config(
        s3=s3,
        use_fips_endpoint="use_fips" in options or None,
        use_dualstack_endpoint="dualstack" in options or None,
    )
    backend = make_backend(settings, region_name=region, client_config=config)
    sent = check(backend, region)
    if host is not None:
        assert sent.netloc == host


@pytest.mark.parametrize("style", ["auto", "virtual", "path"])
@pytest.mark.parametrize("bucket", ["backups", "my.backups.example"])
def test_styles_of_addressing(settings, style, bucket):
    backend = make_backend(
        settings, region_name="eu-south-2", bucket_name=bucket, addressing_style=style
    )
    sent = check(backend, "eu-south-2")
    if style == "path":
        assert (sent.netloc, sent.path) == (
            "s3.eu-south-2.amazonaws.com",
            f"/{bucket}/a%20key",
        )


def test_access_point(settings):
    backend = make_backend(settings, region_name="eu-west-1", bucket_name=ACCESS_POINT)
    sent = check(backend, "eu-west-1")
    assert sent.netloc == "backups-123456789012.s3-accesspoint.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("endpoint", "authority"),
    [
        ("https://store.example", "store.example"),
        ("https://store.example:443", "store.example"),
        ("http://store.example:80", "store.example"),
        ("http://store.example:443", "store.example:443"),
        ("https://STORE.Example:9000", "store.example:9000"),
        ("https://S3.Store.EXAMPLE:443/below", "s3.store.example"),
        ("http://[2001:DB8::1]:80", "[2001:db8::1]"),
    ],
)
@pytest.mark.parametrize("is_public", [False, True])
def test_urls_print_the_host_that_is_signed(settings, endpoint, authority, is_public):
    """A client that sends the URL's authority as its Host header is let in."""
    if is_public:
        settings.BACKUPS_REMOTE = {"PUBLIC_ENDPOINTS": {"s3": endpoint}}
    backend = make_backend(
        settings,
        endpoint_url="http://127.0.0.1:8333" if is_public else endpoint,
        region_name="us-east-1",
        addressing_style="path",
    )
    assert backend._built.target is not None
    ours, theirs, link = urls_of(backend)
    assert ours.netloc == theirs.netloc == link.netloc == authority
    # botocore signs what it takes for the host: the same signature is over the same host.
    assert backend._built.target.host == authority


def test_own_endpoint_is_that_of_the_calls(settings):
    backend = make_backend(
        settings,
        endpoint_url="https://store.example:9000/s3",
        region_name="garage",
        addressing_style="virtual",
    )
    check(backend, "garage")
    assert storages["s3"] is backend._storage
