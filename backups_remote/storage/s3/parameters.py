"""What the object of an upload is given: content type, mark, and the alias's object parameters."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import botocore.session

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

#: django-storages hands the alias's object parameters to both.
_CALLS: Final = ("CreateMultipartUpload", "PutObject")
CONTENT_TYPE: Final = "application/x-gzip"
#: Storage classes whose objects must be thawed first. GLACIER_IR answers at once.
ARCHIVE_CLASSES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
#: The object's metadata key that carries an upload's mark.
MARK: Final = "backup-mark"

#: Parameters of the alias that are left out: set by the backend, or unsafe on some stores.
_LEFT_OUT: Final = frozenset(
    {
        "Bucket",
        "Key",
        "ContentType",
        "ContentEncoding",
        "ChecksumAlgorithm",
        "ChecksumType",
        "Metadata",
    }
)


@functools.cache
def known_parameters() -> frozenset[str]:
    """What object parameters may be called: what CreateMultipartUpload or PutObject takes."""
    service = botocore.session.get_session().get_service_model("s3")
    shapes = (service.operation_model(name).input_shape for name in _CALLS)
    return frozenset(name for shape in shapes if shape is not None for name in shape.members)


def object_parameters(storage: Any, client: S3Client, key: str, mark: str) -> dict[str, Any]:
    """The alias's object parameters that CreateMultipartUpload takes, and ``mark`` as metadata."""
    wanted = storage.get_object_parameters(key)
    if storage.default_acl:
        wanted.setdefault("ACL", storage.default_acl)
    known = client.meta.service_model.operation_model("CreateMultipartUpload")
    members = known.input_shape.members if known.input_shape else {}
    parameters = {
        name: value for name, value in wanted.items() if name in members and name not in _LEFT_OUT
    }
    # safeguard: mark-in-metadata
    parameters["Metadata"] = {**wanted.get("Metadata", {}), MARK: mark}
    return parameters
