"""Whether daemons reach the endpoints through the host project's own URLs and middleware.

A daemon calls ``<remote>/api/remote/…``, in no language, and follows no redirect with its report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils import translation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

#: Where daemons call, below the panel's address.
_PREFIX: Final = "/api/remote/"
_BACKUP: Final = "00000000-0000-4000-8000-000000000000"


def check_routes() -> Iterator[CheckMessage]:
    """What keeps daemons from the endpoints, or redirects them."""
    try:
        paths = {_path(language) for language in (None, *dict(settings.LANGUAGES))}
        path = _path(None)
    except NoReverseMatch:
        yield CheckWarning(
            "The endpoints are not among the URLs of this project.",
            hint=f"Add path('{_PREFIX[1:]}', include('backups_remote.urls')) to its URLs.",
            id="backups_remote.W004",
        )
        return
    place = path.removesuffix(f"backups/{_BACKUP}")
    if len(paths) > 1 and path.startswith(f"{get_script_prefix()}{settings.LANGUAGE_CODE}/"):
        yield CheckWarning(
            f"The endpoints are inside i18n_patterns(), at {place}: daemons, which speak no "
            "language, are redirected.",
            hint="Include 'backups_remote.urls' outside of them.",
            id="backups_remote.W005",
        )
    elif not place.endswith(_PREFIX):
        yield CheckWarning(
            f"Daemons call <remote>{_PREFIX}…, and the endpoints are at {place}.",
            hint=f"Include 'backups_remote.urls' at '{_PREFIX[1:]}'.",
            id="backups_remote.W004",
        )
    elif (other := _view_instead(path)) is not None:
        yield CheckWarning(
            f"Another route comes before the endpoints: {other} answers at {place}.",
            hint="Include 'backups_remote.urls' before routes that match everything.",
            id="backups_remote.W004",
        )
    if settings.PREPEND_WWW and "django.middleware.common.CommonMiddleware" in settings.MIDDLEWARE:
        yield CheckWarning(
            "PREPEND_WWW redirects daemons that call another host name; their reports get lost.",
            hint="Have every daemon's remote begin with https://www., and silence this warning.",
            id="backups_remote.W006",
        )


def _path(language: str | None) -> str:
    with translation.override(language):
        return reverse("backups_remote:backup", args=[_BACKUP])


def _view_instead(path: str) -> str | None:
    """The name of the view that answers instead of ours; None if ours does."""
    try:
        with translation.override(None):
            found = resolve(f"/{path.removeprefix(get_script_prefix())}")
    except Resolver404:
        return "nothing"
    if found.view_name == "backups_remote:backup":
        return None
    return found.view_name or found._func_path  # noqa: SLF001 - as Django's own error page names it
