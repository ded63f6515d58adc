"""Dropping the last layers does not hurt supervised models (Xie et al., arXiv 2205.13543).

The accuracy lost without the last layers, averaged over leaving out the last one, two and three, is
below one point. (The point is our choice; the paper shows curves and gives no number.) Each
supervised model is judged by itself; how much more or less MIM models lose, on the same images, is
told beside it and decides nothing. A model that knows no more than chance has nothing to lose, and
leaves the claim undecided.
"""

from collections.abc import Iterator

from mimprobe.claims.evidence import NAMES, Evidence
from mimprobe.claims.losses import (
    READOUTS,
    Loss,
    dearest_readout,
    mean_loss,
    not_at_the_end,
    points_of,
)
from mimprobe.claims.verdicts import Claim, Question, Verdict

CLAIM = Claim(
    "dropping", "Dropping the last layers does not hurt supervised models", "layer_drop",
    attention=False,
)  # fmt: skip

MOST = 3
"""Last layers that are left out at most."""

HARMLESS = Question(
    quantity="accuracy {readout} lost without the last layers, mean over leaving out 1 to 3",
    unit="1",
    wanted="below",
    threshold=0.01,
    below="without its last one to three layers, {first} loses {amount} of its accuracy {readout}, "
    "less than {threshold} (a point, our threshold)",
    above="without its last one to three layers, {first} loses {amount} of its accuracy {readout}, "
    "more than {threshold} (a point, our threshold)",
    unclear="whether {first} can do without its last one to three layers is open: it loses "
    "{amount} of its accuracy {readout}, against {threshold} (a point, our threshold)",
)

BESIDE = Question(
    quantity="accuracy {readout} lost without the last layers, MIM less supervised",
    unit="1",
    wanted="above",
    above="{first} loses {amount} more than {second}",
    below="{first} loses {amount} less than {second}",
    unclear="what {first} and {second} lose cannot be told apart: {first} less {second} is "
    "{amount}",
)


def judge(evidence: Evidence) -> Iterator[Verdict]:
    """Judge each supervised model by itself, and tell beside it what MIM models lose."""
    supervised = evidence.models(CLAIM, "supervised")
    if not supervised:
        yield CLAIM.missing(f"no {NAMES['supervised']} {CLAIM.subject} is among those compared")
    for model in supervised:
        yield CLAIM.judged((model,), *_parts(evidence, model))


def _parts(evidence: Evidence, model: str) -> Iterator[Verdict]:
    metric = dearest_readout(evidence.values, "drop", [model], set(range(1, MOST + 1)).issubset)
    own = _loss(evidence, metric, model)
    if metric is None or own is None:
        why = (
            f"{model} has no accuracy of one read-out with none, one, two and three of its last "
            "layers left out"
        )
        yield CLAIM.part((model,), HARMLESS.of("there is"), why)
        return
    elsewhere = not_at_the_end(metric, evidence.inner_layer(CLAIM.table, model))
    why = elsewhere or own.lacks(evidence.chance[CLAIM.table])
    found = f"{model} {why}" if why else own.estimated()[0]
    yield CLAIM.part((model,), HARMLESS.of(READOUTS[metric]), found)
    for mim in evidence.models(CLAIM, "mim") if not elsewhere else ():
        other = _loss(evidence, metric, mim)
        if other is not None:
            asked = BESIDE.of(READOUTS[metric])
            yield CLAIM.aside((mim, model), asked, other.less(own)[0])


def _loss(evidence: Evidence, metric: str | None, model: str) -> Loss | None:
    """Average a model's loss over the last layers left out; None unless all were."""
    values, dropped = evidence.values, range(1, MOST + 1)
    if metric is None or not set(dropped) <= set(points_of(values, "drop", model, metric)):
        return None
    return mean_loss(
        evidence.layer_tests[CLAIM.table], values, model, metric, lambda count: count in dropped
    )
