"""A pytest of its own, with other settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What this run was told, and that one is not.
KEPT_BACK = {"DATABASE_URL", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}


def assert_passes(path, settings):
    """Run the tests of a file under other settings; show what they say if one fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--ds={settings}", path],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in KEPT_BACK},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
