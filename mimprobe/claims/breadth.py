"""MIM attention stays both focused and broad (Xie et al., arXiv 2205.13543, section 3.1).

The spread of head entropies, largest less smallest of a layer, averaged over the last third of the
layers, is larger than the supervised model's.
"""

from collections.abc import Iterator

from mimprobe.claims.evidence import Evidence
from mimprobe.claims.quantities import end_layers, mean_spread
from mimprobe.claims.verdicts import Claim, Question, Verdict

CLAIM = Claim("breadth", "MIM attention stays both focused and broad", "attention_entropy")

WIDER = Question(
    quantity="spread of head entropies, last third of layers, less the other model's",
    unit="nats",
    wanted="above",
    above="in the last third of the layers, the entropies of a layer's broadest and narrowest head "
    "lie {amount} farther apart in {first} than in {second}",
    below="in the last third of the layers, the entropies of a layer's broadest and narrowest head "
    "lie {amount} closer together in {first} than in {second}",
    unclear="in the last third of the layers, the spreads of head entropies of {first} and "
    "{second} cannot be told apart: {amount}",
)


def judge(evidence: Evidence) -> Iterator[Verdict]:
    """Judge every MIM model against every supervised one."""

    def pair(mim: str, supervised: str) -> Verdict:
        models = (mim, supervised)
        found = evidence.chosen(mean_spread, "attention_entropy", end_layers, *models)
        return CLAIM.judged(models, CLAIM.part(models, WIDER, found))

    return evidence.pairs(CLAIM, pair)
