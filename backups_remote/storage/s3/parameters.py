"""What the object of an upload is given: content type, mark, and the alias's object parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

CONTENT_TYPE: Final = "application/x-gzip"
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
