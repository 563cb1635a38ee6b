"""For the tests of projects that use this app: a store in memory, and the contract of all stores.

::

    BACKUPS_REMOTE = {
        "DEFAULT_DISK": "memory",
        "BACKENDS": {"memory": "backups_remote.testing.MemoryBackend"},
    }

``plugin`` has pytest fixtures. ``contract.StoreContract`` is what every backend must pass. These
two need pytest; importing this package does not.
"""

from backups_remote.testing.dialects import DIALECTS, Dialect, State
from backups_remote.testing.memory import MemoryBackend

__all__ = ["DIALECTS", "Dialect", "MemoryBackend", "State"]
