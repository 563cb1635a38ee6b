"""Translates boto's exceptions into those of this package."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from django.core.exceptions import ImproperlyConfigured

from backups_remote.exceptions import (
    DiskNotConfigured,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
)
from backups_remote.storage.s3.differences import Call, Means, error_for, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Raised where there is no error code of the store's: by the transport, or by reading an answer
#: that is not the expected document (KeyError for a proxy's empty 200).
_WITHOUT_CODE: Final = (
    BotoCoreError,
    HTTPClientError,
    ResponseParserError,
    OSError,
    KeyError,
    ValueError,
)


@contextlib.contextmanager
def translated_errors(doing: str, call: Call | None = None) -> Iterator[None]:
    """Translate what boto raises, by call and error code.

    Without ``call`` every error answer is a fault. Messages name the code only: boto's messages
    can contain URLs, keys and signatures.

    Raises:
        StorageError: the store answered an error; ``differences`` says of which kind.
        StorageTimeout: the store did not answer in time.
        StorageUnavailable: there was no readable answer.

    """
    try:
        yield
    except ClientError as error:
        raise error_for(call, code_of(error), doing) from error
    except ReadTimeoutError as error:
        # safeguard: store-silence-is-timeout
        raise StorageTimeout(f"The store did not answer to {doing} in time.") from error
    except _WITHOUT_CODE as error:
        name = type(error).__name__
        raise StorageUnavailable(f"The store gave no clear answer to {doing} ({name}).") from error


@contextlib.contextmanager
def configuration_errors(alias: str) -> Iterator[None]:
    """Translate what a storage class, or its options, raise: anything, as its project wrote it.

    Raises:
        DiskNotConfigured: the block raised anything but a StorageError.

    """
    try:
        yield
    except StorageError:
        raise
    except ImproperlyConfigured as error:
        # Its sentence is about names of options.
        raise DiskNotConfigured(f"The disk {alias!r} cannot be set up: {error}") from error
    except Exception as error:
        name = type(error).__name__
        raise DiskNotConfigured(f"The disk {alias!r} cannot be set up ({name}).") from error


def code_of(error: ClientError) -> str:
    """The store's error code, or the HTTP status where the answer has none."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def means(error: ClientError, call: Call) -> Means:
    """What the store's error answer to ``call`` means."""
    return meaning_of(call, code_of(error))
