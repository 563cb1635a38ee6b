"""Reasons of the lifecycle in the user's language."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import backups_remote
from backups_remote.admin.reasons import KNOWN, translated
from backups_remote.exceptions import BackupLimitReached, StorageUnavailable

PACKAGE = Path(backups_remote.__file__).parent


@pytest.fixture(scope="module")
def said():
    """Every text in the package's code outside of the admin."""
    modules = [
        path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "admin"
    ]
    return {
        inspect.cleandoc(node.value)
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("reason", sorted(KNOWN))
def test_known_reason_is_one_that_the_package_gives(said, reason):
    assert reason in said


def test_other_words_are_shown_as_they_are():
    assert translated(StorageUnavailable("Access Denied (403)")) == "Access Denied (403)"
    assert translated(StorageUnavailable("")) in KNOWN
    assert translated("") == ""
    assert translated(BackupLimitReached()) in KNOWN
