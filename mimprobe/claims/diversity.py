"""Supervised heads lose diversity at the end (Xie et al., arXiv 2205.13543, section 3.1).

The KL between heads, averaged over the last three layers, is smaller than over the first half of
them, for supervised and contrastive models, and not for MIM: each model is judged by itself.
"""

from collections.abc import Iterator
from dataclasses import replace

from mimprobe.claims.evidence import NAMES, Evidence
from mimprobe.claims.quantities import first_half, last_three
from mimprobe.claims.verdicts import Claim, Question, Side, Verdict

CLAIM = Claim(
    "diversity", "Heads of supervised and contrastive models become alike at the end, MIM's do not",
    "head_kl",
)  # fmt: skip

FALLS = Question(
    quantity="KL between heads, last three layers less first half",
    unit="nats",
    wanted="below",
    below="in {first}, the KL between heads is {amount} smaller in the last "
    "three layers than in the first half",
    above="in {first}, the KL between heads is {amount} larger in the last "
    "three layers than in the first half",
    unclear="in {first}, the KL between heads of the last three layers and of "
    "the first half cannot be told apart: {amount}",
)


def judge(evidence: Evidence) -> Iterator[Verdict]:
    """Judge each MIM, supervised and contrastive model by itself."""
    models = evidence.models(CLAIM, *NAMES)
    if not models:
        yield CLAIM.missing(
            f"no {' or '.join(NAMES.values())} {CLAIM.subject} is among those compared"
        )
    for model in models:
        wanted: Side = "above" if evidence.kind(model) == "mim" else "below"
        found = evidence.change("head_kl", first_half, last_three, model)
        yield CLAIM.judged((model,), CLAIM.part((model,), replace(FALLS, wanted=wanted), found))
