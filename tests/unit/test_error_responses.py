"""Every error has a status and a code; DRF is left as it was."""

from __future__ import annotations

import re

from rest_framework.views import APIView

from backups_remote import error_responses, exceptions


def test_every_exception_has_a_status():
    """One that is new gets its own, not a 400 by accident."""

    def tree(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    listed = tuple(kind for kind, _ in error_responses.STATUSES)
    package = exceptions.__name__
    ours = {kind for kind in tree(exceptions.BackupsRemoteError) if kind.__module__ == package}
    ours.discard(exceptions.BackupsRemoteError)
    assert {kind for kind in ours if not issubclass(kind, listed)} == set()
    for kind in ours:
        answer = error_responses.error_response(kind())
        [error] = answer.data["errors"]
        assert error["status"] == str(answer.status_code)
        assert re.fullmatch(r"[a-z_]+", error["code"])


def test_importing_the_app_does_not_change_drf():
    from rest_framework.settings import DEFAULTS, api_settings

    assert api_settings.EXCEPTION_HANDLER.__module__ == "rest_framework.views"
    assert [c.__module__ + "." + c.__name__ for c in APIView.renderer_classes] == DEFAULTS[
        "DEFAULT_RENDERER_CLASSES"
    ]
