"""MIM keeps locality in all layers (Xie et al., arXiv 2205.13543, section 3.1).

Two parts. In every layer some head stays local: its attention distance is below half of that of
uniform attention over the same keys. (Half is our choice; the paper shows dots and gives no number.
Of the layers, the one whose most local head looks farthest decides, so one interval speaks for all
of them.) And in the last third of the layers the lower quartile of head distances is smaller than
the supervised model's.
"""

from collections.abc import Iterator

from mimprobe.claims.evidence import Evidence
from mimprobe.claims.quantities import all_layers, end_layers, least_local, lower_quartile
from mimprobe.claims.verdicts import Claim, Question, Verdict

CLAIM = Claim("locality", "MIM keeps locality in all layers", "attention_distance")

LOCAL = Question(
    quantity="distance of each layer's most local head as a share of uniform attention's, largest "
    "over layers",
    unit="1",
    wanted="below",
    threshold=0.5,
    below="every layer of {first} has a local head: where its most local head looks farthest, it "
    "looks {amount} times as far as uniform attention would, less than {threshold}",
    above="not every layer of {first} has a local head: in one, even the most local head looks "
    "{amount} times as far as uniform attention would, more than {threshold}",
    unclear="whether every layer of {first} has a local head is open: where its most local head "
    "looks farthest, it looks {amount} times as far as uniform attention would, against "
    "{threshold}",
)

NEARER = Question(
    quantity="lower quartile of head distances, last third of layers, less the other model's",
    unit="px",
    wanted="below",
    below="in the last third of the layers, the lower quartile of head distances is {amount} "
    "smaller in {first} than in {second}",
    above="in the last third of the layers, the lower quartile of head distances is {amount} "
    "larger in {first} than in {second}",
    unclear="in the last third of the layers, the lower quartiles of head distances of {first} and "
    "{second} cannot be told apart: {amount}",
)


def judge(evidence: Evidence) -> Iterator[Verdict]:
    """Judge every MIM model against every supervised one."""
    return evidence.pairs(CLAIM, lambda mim, supervised: _judge(evidence, mim, supervised))


def _judge(evidence: Evidence, mim: str, supervised: str) -> Verdict:
    share = evidence.chosen(least_local, "attention_distance_normalised", all_layers, mim)
    apart = evidence.chosen(lower_quartile, "attention_distance", end_layers, mim, supervised)
    pair = (mim, supervised)
    return CLAIM.judged(pair, CLAIM.part((mim,), LOCAL, share), CLAIM.part(pair, NEARER, apart))
