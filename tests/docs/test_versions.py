"""What is claimed is what ``noxfile.py`` runs, which goes by the classifiers."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.once


def claimed(prefix):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.fullmatch(rf"{prefix} :: (\d+\.\d+)", name) for name in project["classifiers"])
    return [match[1] for match in found if match]


def test_the_readme_names_the_versions_of_the_classifiers():
    (oldest, *newer), (first, last) = (
        claimed("Framework :: Django"),
        claimed("Programming Language :: Python"),
    )
    said = f"Tested on Python {first} with Django {oldest}, on Python {last} with Django "
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{said}{' and '.join(newer)}, and with the lowest" in readme


def test_the_oldest_versions_are_those_that_are_required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={claimed('Programming Language :: Python')[0]}"
    assert f"django>={claimed('Framework :: Django')[0]}" in project["dependencies"]
