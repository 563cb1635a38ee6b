"""The store under test: the one that the environment variable STORE names, else SeaweedFS."""

from __future__ import annotations

import os

import pytest

from tests.storage.stores.kinds import KINDS

NAME = os.environ.get("STORE") or "seaweedfs"
KIND = KINDS[NAME]


def pytest_report_header():
    return f"store: {KIND.title} {KIND.version()}"


if NAME != "seaweedfs":

    @pytest.fixture(scope="session")
    def store():
        """The named store, running for the whole session."""
        with KIND.running() as running:
            yield running
