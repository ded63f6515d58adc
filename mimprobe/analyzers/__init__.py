"""The diagnostics: one thin file each, and the dict that names them."""

from collections.abc import Sequence

from mimprobe.analyzers.analyzer import Analyzer
from mimprobe.analyzers.cka import Cka
from mimprobe.analyzers.distance import AttentionDistance
from mimprobe.analyzers.entropy import AttentionEntropy
from mimprobe.analyzers.kernels import Kernels
from mimprobe.analyzers.kl import HeadKL
from mimprobe.analyzers.prefix import PrefixMass
from mimprobe.errors import OptionError, UnknownNameError

ANALYZERS = {
    "attention_distance": AttentionDistance,
    "attention_entropy": AttentionEntropy,
    "head_kl": HeadKL,
    "prefix_mass": PrefixMass,
    "cka": Cka,
    "kernels": Kernels,
}
"""Analyzers by the name of their table, in the order in which a report shows them."""


def make_analyzers(chosen: Sequence[str | Analyzer] | None) -> list[Analyzer]:
    """Make new analyzers by name, and pass through those already made; None means all.

    Raises:
        UnknownNameError: no analyzer of that name.
        OptionError: two of the same name.
    """
    made: list[Analyzer] = []
    for item in ANALYZERS if chosen is None else chosen:
        if isinstance(item, str):
            if item not in ANALYZERS:
                raise UnknownNameError("analyzer", item, ANALYZERS)
            made.append(ANALYZERS[item]())
        else:
            made.append(item)
    names = [tool.name for tool in made]
    if len(set(names)) < len(names):
        raise OptionError(f"an analyzer is asked for twice: {', '.join(names)}; name each once")
    return made


__all__ = [
    "ANALYZERS", "Analyzer", "AttentionDistance", "AttentionEntropy", "Cka", "HeadKL", "Kernels",
    "PrefixMass", "make_analyzers",
]  # fmt: skip
