"""The diagnostics: one thin file each, and the dict that names them."""

from collections.abc import Sequence

from mimprobe.analyzers.analyzer import Analyzer
from mimprobe.analyzers.cka import Cka
from mimprobe.analyzers.distance import AttentionDistance
from mimprobe.analyzers.entropy import AttentionEntropy
from mimprobe.analyzers.frequency import HighFrequency
from mimprobe.analyzers.kernels import Kernels
from mimprobe.analyzers.kl import HeadKL
from mimprobe.analyzers.magnitude import FeatureNorm
from mimprobe.analyzers.neighbours import MutualNeighbours
from mimprobe.analyzers.nmi import AttentionNmi
from mimprobe.analyzers.offset import AttentionOffset
from mimprobe.analyzers.pairs import HeadPairs
from mimprobe.analyzers.prefix import PrefixMass
from mimprobe.analyzers.profile import AttentionProfile
from mimprobe.analyzers.rank import EffectiveRank
from mimprobe.analyzers.token_similarity import TokenSimilarity
from mimprobe.errors import OptionError, UnknownNameError

ANALYZERS = {
    "attention_distance": AttentionDistance,
    "attention_offset": AttentionOffset,
    "attention_profile": AttentionProfile,
    "attention_entropy": AttentionEntropy,
    "attention_nmi": AttentionNmi,
    "head_kl": HeadKL,
    "head_pairs": HeadPairs,
    "prefix_mass": PrefixMass,
    "cka": Cka,
    "mutual_neighbours": MutualNeighbours,
    "effective_rank": EffectiveRank,
    "token_similarity": TokenSimilarity,
    "high_frequency": HighFrequency,
    "feature_norm": FeatureNorm,
    "kernels": Kernels,
}
"""Analyzers by the name of their table, in the order in which a report shows them."""


def make_analyzers(
    chosen: Sequence[str | Analyzer] | None, settings: Sequence[Analyzer] = ()
) -> list[Analyzer]:
    """Make new analyzers by name, and pass through those already made; None means all.

    Those among `settings` are taken where their name is asked for.

    Raises:
        UnknownNameError: no analyzer of that name.
        OptionError: two of the same name.
    """
    made: list[Analyzer] = []
    own = {tool.name: tool for tool in settings}
    for item in ANALYZERS if chosen is None else chosen:
        if isinstance(item, str):
            if item not in ANALYZERS:
                raise UnknownNameError("analyzer", item, ANALYZERS)
            made.append(own[item] if item in own else ANALYZERS[item]())
        else:
            made.append(item)
    names = [tool.name for tool in made]
    if len(set(names)) < len(names):
        raise OptionError(f"an analyzer is asked for twice: {', '.join(names)}; name each once")
    return made


__all__ = [
    "ANALYZERS", "Analyzer", "AttentionDistance", "AttentionEntropy", "AttentionNmi",
    "AttentionOffset", "AttentionProfile", "Cka", "EffectiveRank", "FeatureNorm", "HeadKL",
    "HeadPairs", "HighFrequency", "Kernels", "MutualNeighbours", "PrefixMass", "TokenSimilarity",
    "make_analyzers",
]  # fmt: skip
