"""How the registry treats what it does not know yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_runtime.decode import Between


@dataclass(frozen=True)
class RegistrySettings:
    """`adopt`: a machine nobody has registered belongs to the gateway that first sends something of it.

    Without it, such messages are refused until the machine is registered. `most`: machines that one gateway may bring
    in like this.
    """

    adopt: bool = False
    most: Annotated[int, Between(1, 10_000_000)] = 20_000
