"""Rows of the host project that protect a backup are asked before its archive is touched."""

import pytest

from tests.support.nested import assert_passes


@pytest.mark.once
def test_rows_of_the_host_project_protect_backups():
    """Under settings with an app that has such rows."""
    assert_passes("tests/lifecycle/with_holds.py", "tests.support.with_holds")
