"""Storage backends, their contract, and the stores that run here."""

import pytest

pytest.register_assert_rewrite("backups_remote.testing.contract")
