"""What a user asked for, when they named a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Wish:
    """A reference, and what was said beside it; the fields are the arguments of `load_model`."""

    text: str
    arch: str | None = None
    arch_args: Mapping[str, Any] = field(default_factory=dict)
    input_size: int | None = None
    card: str | None = None
    seed: int = 0
