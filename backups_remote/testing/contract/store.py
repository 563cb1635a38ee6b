"""The contract as one class: all scenarios, and the limits that a store declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backups_remote.testing.contract.complete import CompletionScenarios
from backups_remote.testing.contract.end import EndScenarios
from backups_remote.testing.contract.faults import FaultScenarios
from backups_remote.testing.contract.limits import limited
from backups_remote.testing.contract.lists import ListScenarios
from backups_remote.testing.contract.objects import ObjectScenarios
from backups_remote.testing.contract.upload import UploadScenarios

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backups_remote.testing.contract.limits import Limit


class StoreContract(
    UploadScenarios,
    CompletionScenarios,
    EndScenarios,
    ObjectScenarios,
    ListScenarios,
    FaultScenarios,
):
    """Inherit from it, and give it a fixture ``backend``."""

    #: Name of a scenario, without its ``test_`` → what the store cannot do.
    limits: ClassVar[Mapping[str, Limit]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Turn the scenarios of declared limits into expected failures.

        Raises:
            TypeError: a limit names no scenario.

        """
        super().__init_subclass__(**kwargs)
        for name, limit in cls.limits.items():
            scenario = getattr(cls, f"test_{name}", None)
            if scenario is None:
                raise TypeError(f"There is no scenario {name!r}.")
            setattr(cls, f"test_{name}", limited(scenario, limit))


def scenarios() -> list[str]:
    """The names of all scenarios, topic by topic."""
    return [
        name.removeprefix("test_")
        for topic in StoreContract.__bases__
        for name in vars(topic)
        if name.startswith("test_")
    ]
