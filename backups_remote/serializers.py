"""The parameter and body tables of the three endpoints. What was said, not what it means."""

from __future__ import annotations

import re
from typing import Any, Final

from rest_framework import serializers

from backups_remote.conf import LARGEST_PART_NUMBER, app_settings
from backups_remote.types import Report, ReportedPart

_DECIMAL: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
#: Visible ASCII: what checksums, their types and ETags consist of.
_VISIBLE: Final = re.compile(r"[!-~]*", re.ASCII)
_LONGEST_ETAG: Final = 1024
#: What every database's 64-bit column takes.
LARGEST_SIZE: Final = 2**63 - 1


class SizeField(serializers.Field[int, Any, int, Any]):
    """A number of bytes. Only a real JSON integer will do (no true, 1.0 or "1").

    A report is bounded by what a row can hold alone: what fits a disk is for the disk to judge.
    """

    default_error_messages = {
        "invalid": "A valid integer is required.",
        "negative": "Ensure this value is not negative.",
        "huge": "Ensure this value is less than or equal to {largest}.",
    }

    def to_internal_value(self, data: Any) -> int:
        """Validate."""
        if type(data) is not int:
            self.fail("invalid")
        if data < 0:
            self.fail("negative")
        if data > self.largest:
            self.fail("huge", largest=self.largest)
        return int(data)

    @property
    def largest(self) -> int:
        """The largest number taken."""
        return LARGEST_SIZE


class QuerySizeField(SizeField):
    """A positive number of bytes that can be uploaded, written in decimal digits."""

    default_error_messages = {"zero": "Ensure this value is greater than 0."}

    def to_internal_value(self, data: Any) -> int:
        """Validate."""
        if not isinstance(data, str) or not _DECIMAL.fullmatch(data):
            self.fail("invalid")
        size = super().to_internal_value(int(data))
        if size == 0:
            self.fail("zero")
        return size

    @property
    def largest(self) -> int:
        """As many parts of the largest size as an upload may have."""
        return app_settings.largest_size


class TokenField(serializers.Field[str, Any, str, Any]):
    """A short word of visible ASCII, such as a checksum."""

    default_error_messages = {
        "invalid": "Not a valid string.",
        "long": "Ensure this field has no more than {longest} characters.",
    }

    def __init__(self, *, longest: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longest = longest

    def to_internal_value(self, data: Any) -> str:
        """Validate."""
        if not isinstance(data, str) or not _VISIBLE.fullmatch(data):
            self.fail("invalid")
        if len(data) > self.longest:
            self.fail("long", longest=self.longest)
        return data


class StrictBooleanField(serializers.BooleanField):
    """A JSON boolean: the word "false" or a 0 is a broken body, not an answer."""

    # DRF takes what is missing from an HTML form for an unticked box. It hands an empty body on
    # as a form wherever the content type says so: that would be a failure which nobody reported.
    default_empty_html = serializers.empty

    def to_internal_value(self, data: Any) -> bool:
        """Validate."""
        if not isinstance(data, bool):
            self.fail("invalid", input=type(data).__name__)
        return data


class PartsField(serializers.Field[tuple[ReportedPart, ...], Any, Any, Any]):
    """The list of parts. One field, not a serializer a part: there can be 10,000 of them."""

    default_error_messages = {
        "invalid": "Expected a list of objects.",
        "part": "Item {index} must be an object with an etag and a part_number.",
        "etag": "The etag of item {index} is not a valid string.",
        "number": "The part_number of item {index} must be an integer from 1 to {largest}.",
        "twice": "The part_number {number} is given twice.",
    }

    def to_internal_value(self, data: Any) -> tuple[ReportedPart, ...]:
        """Validate."""
        if not isinstance(data, list):
            self.fail("invalid")
        seen: set[int] = set()
        parts = []
        for index, item in enumerate(data):
            if not isinstance(item, dict) or not {"etag", "part_number"} <= item.keys():
                self.fail("part", index=index)
            etag, number = item["etag"], item["part_number"]
            if (
                not isinstance(etag, str)
                or len(etag) > _LONGEST_ETAG
                or not _VISIBLE.fullmatch(etag)
            ):
                self.fail("etag", index=index)
            if type(number) is not int or not 1 <= number <= LARGEST_PART_NUMBER:
                self.fail("number", index=index, largest=LARGEST_PART_NUMBER)
            if number in seen:
                self.fail("twice", number=number)
            seen.add(number)
            parts.append(ReportedPart(number=number, etag=etag))
        return tuple(parts)


class UploadRequestSerializer(serializers.Serializer[None]):
    """The query of GET /backups/{backup}."""

    size = QuerySizeField()


class ReportSerializer(serializers.Serializer[None]):
    """The body of POST /backups/{backup}. Keys that it does not name are ignored."""

    successful = StrictBooleanField()
    checksum = TokenField(longest=128, required=False, allow_null=True)
    checksum_type = TokenField(longest=32, required=False, allow_null=True)
    size = SizeField(required=False, allow_null=True)
    parts = PartsField(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """What is required if ``successful`` is true."""
        if attrs["successful"]:
            missing = [
                name
                for name in ("checksum", "checksum_type", "size")
                if attrs.get(name) is None or attrs[name] == ""
            ]
            if missing:
                message = "This field is required if successful is true."
                raise serializers.ValidationError(dict.fromkeys(missing, message), "required")
        return attrs

    @property
    def report(self) -> Report:
        """What the node said, once it is valid."""
        said = self.validated_data
        if not said["successful"]:
            return Report(successful=False)
        return Report(
            successful=True,
            checksum=f"{said['checksum_type']}:{said['checksum']}",
            size=said["size"],
            parts=said.get("parts") or (),
        )


class RestoreSerializer(serializers.Serializer[None]):
    """The body of POST /backups/{backup}/restore."""

    successful = StrictBooleanField()
