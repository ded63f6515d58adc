"""Exchanging layers hurts supervised models more (Xie et al., arXiv 2205.13543, section 3.1).

The accuracy lost when blocks change places, averaged over all numbers of blocks from two on, is
larger for the supervised model than for the MIM model. Both lose on the same images, so their
losses are subtracted image by image; the exchanges are drawn anew with each seed, and the variance
between seeds is in the interval. Models of different depth are compared over their own curves. A
model that knows no more than chance has nothing to lose, and leaves the claim undecided.
"""

from collections.abc import Iterator

from mimprobe.claims.evidence import Evidence
from mimprobe.claims.losses import (
    READOUTS,
    dearest_readout,
    mean_loss,
    not_at_the_end,
    some_points,
)
from mimprobe.claims.verdicts import Claim, Question, Verdict

CLAIM = Claim(
    "exchange", "Exchanging layers hurts supervised models more", "layer_swap", attention=False
)

LOSES_MORE = Question(
    quantity="accuracy {readout} lost to exchanging layers, supervised less MIM",
    unit="1",
    wanted="above",
    above="when layers change places, {second} loses {amount} more accuracy {readout} than {first}",
    below="when layers change places, {second} loses {amount} less accuracy {readout} than {first}",
    unclear="what {first} and {second} lose in accuracy {readout} when layers change places cannot "
    "be told apart: {second} less {first} is {amount}",
)

FEWEST = 2
"""Blocks that an exchange needs."""

ONE_SEED = ". Blocks were drawn once, so this is about these exchanges only"

SOME_POINTS = ". Of the curves, only the points {points} have this read-out"


def judge(evidence: Evidence) -> Iterator[Verdict]:
    """Judge every MIM model against every supervised one."""
    return evidence.pairs(CLAIM, lambda mim, supervised: _judge(evidence, mim, supervised))


def _judge(evidence: Evidence, mim: str, supervised: str) -> Verdict:
    pair = (mim, supervised)
    table, values = evidence.layer_tests[CLAIM.table], evidence.values
    metric = dearest_readout(values, "swap", pair, lambda points: max(points) >= FEWEST)
    losses = {
        model: mean_loss(table, values, model, metric, lambda changed: changed >= FEWEST)
        for model in pair if metric
    }  # fmt: skip
    one, other = losses.get(mim), losses.get(supervised)
    if metric is None or one is None or other is None:
        why = f"{mim} and {supervised} have no accuracy of one read-out before and after exchanges"
        return CLAIM.judged(pair, CLAIM.part(pair, LOSES_MORE.of("there is"), why))
    for model, loss in losses.items():
        elsewhere = not_at_the_end(metric, evidence.inner_layer(CLAIM.table, model))
        why = elsewhere or (loss.lacks(evidence.chance[CLAIM.table]) if loss else "")
        if why:
            asked = LOSES_MORE.of(READOUTS[metric])
            return CLAIM.judged(pair, CLAIM.part(pair, asked, f"{model} {why}"))
    once = min(len(one.seeds), len(other.seeds)) < 2
    told = _points_told(evidence, metric, pair) + (ONE_SEED if once else "")
    asked = LOSES_MORE.of(READOUTS[metric], told)
    return CLAIM.judged(pair, CLAIM.part(pair, asked, other.less(one)[0]))


def _points_told(evidence: Evidence, metric: str, models: tuple[str, str]) -> str:
    """Say which points of the curves there are, where the table has others without this read-out.

    Fine-tuning is dear, and seldom of a whole curve.
    """
    table = evidence.layer_tests[CLAIM.table]
    told = some_points(table, evidence.values, models, metric)
    return SOME_POINTS.format(points=", ".join(map(str, told))) if told else ""
