"""What every storage backend must do: a class of pytest tests to inherit.

::

    import pytest
    from backups_remote.testing.contract import Limit, StoreContract

    class TestVault(StoreContract):
        @pytest.fixture
        def backend(self):
            return VaultBackend("vault")

        limits = {
            "a_part_sent_again_replaces_the_first": Limit(
                "PUT answered 501", "a node that repeats a part fails"
            ),
        }

Each test is one scenario. What a store cannot do is declared in ``limits``, by the scenario's name
and with the answer that the store gives. The scenario still runs: it must fail with that answer,
and is shown as an expected failure. A declared limit that no longer exists is a failure.

Scenarios of more than a thousand parts or uploads have the marker ``slow``, which the project's
pytest configuration must register.
"""

from backups_remote.testing.contract.http import Answer
from backups_remote.testing.contract.limits import Limit
from backups_remote.testing.contract.store import StoreContract, scenarios

__all__ = ["Answer", "Limit", "StoreContract", "scenarios"]
