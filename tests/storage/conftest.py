"""What goes wrong between the app and its store."""

from __future__ import annotations

import pytest

from tests.support.http import change_disk_options
from tests.support.proxy import Proxy


@pytest.fixture
def proxy(store, disk, settings):
    """A proxy in front of the store."""
    with Proxy(store.endpoint) as between:
        change_disk_options(settings, endpoint_url=between.url)
        yield between
