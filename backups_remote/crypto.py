"""Tokens of nodes: generation, encryption and decryption.

The key is derived from SECRET_KEY. SECRET_KEY_FALLBACKS are tried for decryption, so that nodes
stay connected when SECRET_KEY is rotated.
"""

from __future__ import annotations

import base64
import functools
import string
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.crypto import get_random_string
from django.utils.encoding import force_bytes

from backups_remote.exceptions import TokenUnreadable

TOKEN_ID_LENGTH: Final = 16
TOKEN_LENGTH: Final = 64
_ALPHABET: Final = string.ascii_letters + string.digits


def new_token_id() -> str:
    """A random token id: 16 letters and digits."""
    return get_random_string(TOKEN_ID_LENGTH, _ALPHABET)


def new_token() -> str:
    """A random token: 64 letters and digits."""
    return get_random_string(TOKEN_LENGTH, _ALPHABET)


def new_encrypted_token() -> str:
    """A random token, encrypted for the database."""
    return encrypt(new_token())


def encrypt(token: str) -> str:
    """Encrypt with the current SECRET_KEY."""
    return _cipher().encrypt(token.encode()).decode()


def decrypt(encrypted: str) -> str:
    """Decrypt with SECRET_KEY or one of SECRET_KEY_FALLBACKS.

    Raises:
        TokenUnreadable: none of them fits.

    """
    try:
        return _cipher().decrypt(encrypted.encode()).decode()
    except InvalidToken:
        raise TokenUnreadable from None


def decoy() -> str:
    """An encrypted token of no node: decrypting it takes as long as decrypting a real one.

    It is generated once per process, since generating it takes time as well.
    """
    return _decoy_for(_secrets())


def _cipher() -> MultiFernet:
    return _cipher_for(_secrets())


def _secrets() -> tuple[str | bytes, ...]:
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@functools.lru_cache(maxsize=4)
def _decoy_for(secrets: tuple[str | bytes, ...]) -> str:
    return _cipher_for(secrets).encrypt(new_token().encode()).decode()


@functools.lru_cache(maxsize=4)
def _cipher_for(secrets: tuple[str | bytes, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derive(secret)) for secret in secrets])


def _derive(secret: str | bytes) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"backups_remote node token")
    return base64.urlsafe_b64encode(hkdf.derive(force_bytes(secret)))
