"""The parameters and bodies of the endpoints: their syntax, not their meaning."""

from __future__ import annotations

import functools
import re
from typing import Any, Final
from uuid import UUID

from rest_framework import serializers

from backups_remote.conf import LARGEST_PART_NUMBER, app_settings
from backups_remote.lifecycle.lookup import CANONICAL_UUID
from backups_remote.types import Report, ReportedPart

_DECIMAL: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
#: Visible ASCII, of which checksums, their types and ETags consist.
_VISIBLE: Final = re.compile(r"[!-~]*", re.ASCII)
_LONGEST_ETAG: Final = 1024
#: The largest value of a 64-bit column in every database.
LARGEST_SIZE: Final = 2**63 - 1


class SizeField(serializers.Field[int, Any, int, Any]):
    """A number of bytes: a JSON number without a fraction, not ``true`` or ``"1"``.

    The only bound is what a row can hold. What fits a disk is not decided here.
    """

    default_error_messages = {
        "invalid": "A valid integer is required.",
        "negative": "Ensure this value is not negative.",
        "huge": "Ensure this value is less than or equal to {largest}.",
    }

    def to_internal_value(self, data: Any) -> int:
        if type(data) is float and data.is_integer():
            data = int(data)
        if type(data) is not int:
            self.fail("invalid")
        if data < 0:
            self.fail("negative")
        if data > self.largest:
            self.fail("huge", largest=self.largest)
        return int(data)

    @property
    def largest(self) -> int:
        """The largest number that is valid."""
        return LARGEST_SIZE


class QuerySizeField(SizeField):
    """A positive number of bytes, in decimal digits, small enough for an upload."""

    default_error_messages = {"zero": "Ensure this value is greater than 0."}

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, str) or not _DECIMAL.fullmatch(data):
            self.fail("invalid")
        size = super().to_internal_value(int(data))
        if size == 0:
            self.fail("zero")
        return size

    @property
    def largest(self) -> int:
        """The size of an upload with the most parts of the largest size."""
        return app_settings.largest_size


class QueryPartNumberField(QuerySizeField):
    """The number of a part, in decimal digits."""

    @property
    def largest(self) -> int:
        """The number of the last part that an upload may have."""
        return app_settings.max_parts


class UUIDField(serializers.Field[UUID, Any, str, Any]):
    """A UUID as a string with dashes; not ``urn:uuid:…``, and no number."""

    default_error_messages = {"invalid": "Not a valid UUID."}

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str) or not CANONICAL_UUID.fullmatch(data):
            self.fail("invalid")
        return UUID(data)


class TokenField(serializers.Field[str, Any, str, Any]):
    """A short string of visible ASCII, such as a checksum. White space around it is dropped."""

    default_error_messages = {
        "invalid": "Not a valid string.",
        "long": "Ensure this field has no more than {longest} characters.",
    }

    def __init__(self, *, longest: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longest = longest

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text = data.strip()
        if not _VISIBLE.fullmatch(text):
            self.fail("invalid")
        if len(text) > self.longest:
            self.fail("long", longest=self.longest)
        return text


class StrictBooleanField(serializers.BooleanField):
    """A JSON boolean. The string "false" and the number 0 are invalid."""

    # REST framework reads a field that is missing from an HTML form as an unticked box, and passes
    # an empty body on as a form if the content type says so: that would be a failure report.
    default_empty_html = serializers.empty

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=type(data).__name__)
        return data


class PartsField(serializers.Field[tuple[ReportedPart, ...], Any, Any, Any]):
    """The list of parts. One field, as a serializer for each of 10,000 parts would be slow."""

    default_error_messages = {
        "invalid": "Expected a list of objects.",
        "part": "Item {index} must be an object with an etag and a part_number.",
        "etag": "The etag of item {index} is not a valid string.",
        "number": "The part_number of item {index} must be an integer from 1 to {largest}.",
        "twice": "The part_number {number} is given twice.",
    }

    def to_internal_value(self, data: Any) -> tuple[ReportedPart, ...]:
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


class RequestSerializer(serializers.Serializer[None]):
    """The parameters or the body of a request. Unknown keys are ignored."""

    @classmethod
    def parse(cls, data: Any) -> dict[str, Any]:
        """The valid values, by field.

        Raises:
            rest_framework.exceptions.ValidationError: with the problems of each field.

        """
        values: dict[str, Any] = _shared(cls).run_validation(data)
        return values


@functools.cache
def _shared(serializer_class: type[RequestSerializer]) -> RequestSerializer:
    """One for all requests: copying the fields for each takes longer than they work.

    ``run_validation`` keeps nothing of what it is given, nor do the fields.
    """
    return serializer_class()


class UploadRequestSerializer(RequestSerializer):
    """The query of GET /backups/{backup}."""

    size = QuerySizeField()


class PartsRequestSerializer(RequestSerializer):
    """The query of GET /backups/{backup}/s3/parts."""

    from_part = QueryPartNumberField()


class ReportSerializer(RequestSerializer):
    """The body of POST /backups/{backup}."""

    successful = StrictBooleanField()
    checksum = TokenField(longest=128, required=False, allow_null=True)
    checksum_type = TokenField(longest=32, required=False, allow_null=True)
    size = SizeField(required=False, allow_null=True)
    parts = PartsField(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require the fields of a success."""
        missing = [
            name
            for name in ("checksum", "checksum_type", "size")
            if attrs.get(name) is None or attrs[name] == ""
        ]
        if missing:
            message = "This field is required if successful is true."
            raise serializers.ValidationError(dict.fromkeys(missing, message), "required")
        return attrs

    @classmethod
    def parse_report(cls, data: Any) -> Report:
        """The report in a body. Of a failure report, all but ``successful`` is ignored.

        Raises:
            rest_framework.exceptions.ValidationError: with the problems of each field.

        """
        if isinstance(data, dict) and data.get("successful") is False:
            return Report(successful=False)
        values = cls.parse(data)
        return Report(
            successful=True,
            checksum=f"{values['checksum_type']}:{values['checksum']}",
            size=values["size"],
            parts=values.get("parts") or (),
        )


class RestoreSerializer(RequestSerializer):
    """The body of POST /backups/{backup}/restore."""

    successful = StrictBooleanField()
    server_uuid = UUIDField(required=False, allow_null=True)


class DeletionSerializer(RequestSerializer):
    """The body of POST /backups/{backup}/deletion."""

    successful = StrictBooleanField()
