"""Which texts a row can hold, on every database."""

from __future__ import annotations

from backups_remote.exceptions import InvalidValue


def refuse_unstorable(field: str, text: str, *, longest: int | None = None) -> None:
    """Make sure that ``text`` can be stored in ``field``, in at most ``longest`` characters.

    Some databases would cut it, some would raise errors of their own, some would store it.

    Raises:
        InvalidValue: it cannot.

    """
    if longest is not None and len(text) > longest:
        raise InvalidValue(f"{field}: {len(text)} characters are more than {longest}.")
    if "\0" in text:
        raise InvalidValue(f"{field}: it contains a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{field}: it contains half of a surrogate pair.") from None
