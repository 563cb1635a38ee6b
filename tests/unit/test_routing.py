"""Daemons must reach the endpoints through the host project's own URLs."""

from __future__ import annotations

import sys
import types

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.core import checks
from django.core.management import call_command
from django.test import Client
from django.urls import include, path, re_path, set_script_prefix
from django.utils import translation
from django.views.generic import TemplateView, View

from tests.support.commands import run

OURS = path("api/remote/", include("backups_remote.urls"))
BACKUP = "/api/remote/backups/9b0f6f2e-6c1e-4c4b-9d0e-0d2f3c5b7a11"


class Page(View):
    """A single-page application's catch-all."""

    def get(self, request, **kwargs):
        raise NotImplementedError


@pytest.fixture
def urls(settings):
    """Have the host project's URLs be these."""

    def use(*patterns):
        module = types.ModuleType("tests.unit.urls_of_a_project")
        module.urlpatterns = list(patterns)
        sys.modules[module.__name__] = module
        settings.ROOT_URLCONF = module.__name__

    yield use
    sys.modules.pop("tests.unit.urls_of_a_project", None)
    set_script_prefix("/")


def found():
    messages = checks.run_checks(tags=[checks.Tags.urls], databases=[])
    return [message for message in messages if message.id.startswith("backups_remote.")]


def one(number):
    [message] = found()
    assert (message.id, message.level) == (f"backups_remote.{number}", checks.WARNING)
    assert message.hint
    return message.msg


def test_urls_that_daemons_reach_pass(urls):
    urls(OURS, re_path("", Page.as_view(), name="app"))
    assert found() == []
    urls(path("panel/", include([OURS])))
    assert found() == []
    set_script_prefix("/panel/")
    urls(OURS)
    assert found() == []


def test_w004_no_endpoints(urls):
    urls(path("", TemplateView.as_view(template_name="x")))
    assert "not among the URLs" in one("W004")


def test_w004_endpoints_elsewhere(urls):
    urls(path("remote/", include("backups_remote.urls")))
    assert "the endpoints are at /remote/." in one("W004")


@pytest.mark.parametrize("name", ["app", None])
def test_w004_a_route_that_matches_everything(urls, name):
    urls(re_path("^(?P<page>.*)$", Page.as_view(), name=name), OURS)
    assert f"{name or 'tests.unit.test_routing.Page'} answers at /api/remote/" in one("W004")


def test_w005_inside_i18n_patterns(urls):
    urls(*i18n_patterns(OURS))
    assert "inside i18n_patterns()" in one("W005")


def test_daemons_are_of_the_default_language(urls, settings):
    """Django redirects nobody there if that language has no prefix."""
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware", *settings.MIDDLEWARE]
    urls(*i18n_patterns(OURS, prefix_default_language=False))
    assert found() == []
    with translation.override("de"):  # whoever runs the check
        assert found() == []
    assert Client().get(BACKUP).status_code == 401
    urls(*i18n_patterns(OURS))
    assert Client().get(BACKUP).status_code in {302, 404}


def test_w006_prepend_www(urls, settings):
    urls(OURS)
    settings.PREPEND_WWW = True
    assert "PREPEND_WWW" in one("W006")
    settings.MIDDLEWARE = []
    assert found() == []


def test_urls_that_cannot_be_imported_are_another_checks_business(settings):
    settings.ROOT_URLCONF = "no.such.module"
    with pytest.raises(ImportError):
        checks.run_checks(tags=[checks.Tags.urls], databases=[])
    from backups_remote.checks import check_routing

    assert check_routing(None) == []


@pytest.mark.django_db
def test_create_node_warns_too(urls):
    urls(re_path("^(?P<page>.*)$", Page.as_view(), name="app"), OURS)
    printed = run("create_node", "fra-1", "--remote", "https://panel.example.com")
    assert "Another route comes before the endpoints: app answers" in printed
    assert "before routes that match everything" in printed
    urls(OURS)
    assert "endpoints" not in run("create_node", "fra-2", "--remote", "https://panel.example.com")


def test_check_passes_with_warnings(urls, capsys):
    urls(*i18n_patterns(OURS))
    call_command("check", "--tag", "urls")
    assert "backups_remote.W005" in capsys.readouterr().err
