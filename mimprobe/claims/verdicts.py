"""What a claim comes to: holds, does not hold, or undecided.

What belongs here: the record of a verdict, and deciding from an interval and a threshold. What does
not: which quantity a claim is about (one file for each claim), and how a verdict is shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mimprobe.claims.estimates import Estimate
from mimprobe.claims.intervals import LEAST_IMAGES

Side = Literal["above", "below"]

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"

TOLD = "told"
"""Of a part that says something beside a claim, and decides nothing."""

NOTHING = Estimate(math.nan)
"""Where nothing could be estimated."""


@dataclass(frozen=True)
class Question:
    """A quantity and the side of a threshold on which a claim wants it.

    Attributes:
        quantity: what is estimated, in a few words.
        unit: of quantity and threshold; `1` for shares.
        wanted: the side of the threshold.
        above, below, unclear: sentences for an interval above, below or across the threshold,
            without a full stop. `{first}` and `{second}` are the models, `{amount}` is the number
            with its interval, `{threshold}` the threshold.
        threshold: against which the interval is held.
    """

    quantity: str
    unit: str
    wanted: Side
    above: str
    below: str
    unclear: str
    threshold: float = 0.0

    def of(self, readout: str, end: str = "") -> "Question":
        """Put a read-out in place of `{readout}`, and an end behind the sentences."""
        above, below, unclear = (
            text.replace("{readout}", readout) + end
            for text in (self.above, self.below, self.unclear)
        )
        quantity = self.quantity.replace("{readout}", readout)
        return replace(self, quantity=quantity, above=above, below=below, unclear=unclear)


@dataclass(frozen=True)
class Verdict:
    """A claim, or one part of it, about one or two models of a result.

    Attributes:
        claim: its name in `CLAIMS`.
        title: the claim in plain words.
        models: those concerned; of two, the first is claimed to differ from the second. None where
            the result lacks its table or models to judge.
        verdict: `holds`, `does not hold` or `undecided`; of a part also `told`.
        question: what was estimated; None where nothing could be.
        estimate: the number with its 95 % interval and images.
        why: the reason, where the claim is undecided.
        parts: of a claim with several; it holds if all do, and does not if one does not. Its own
            question and estimate are then those of the part that decided.
    """

    claim: str
    title: str
    models: tuple[str, ...]
    verdict: str
    question: Question | None = None
    estimate: Estimate = NOTHING
    why: str = ""
    parts: tuple["Verdict", ...] = ()

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.estimate.low

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.estimate.high

    @property
    def n(self) -> int:
        """Images behind the estimate."""
        return self.estimate.n

    @property
    def threshold(self) -> float:
        """Number against which the interval was held; NaN where there was none."""
        return self.question.threshold if self.question else math.nan

    @property
    def unit(self) -> str:
        """Unit of estimate and threshold."""
        return self.question.unit if self.question else ""

    @property
    def sentence(self) -> str:
        """What was found, with the placeholders of `Question`; empty where nothing was."""
        if self.question is None or math.isnan(self.low):
            return ""
        told = {"above": self.question.above, "below": self.question.below}
        return told.get(self.side, self.question.unclear)

    @property
    def side(self) -> str:
        """Where the interval lies: `above` the threshold, `below` it, or `across`."""
        if self.low > self.threshold:
            return "above"
        return "below" if self.high < self.threshold else "across"


@dataclass(frozen=True)
class Claim:
    """What a claim's file says of it: name, title, its table, and whether it is about attention."""

    name: str
    title: str
    table: str
    attention: bool = True

    @property
    def subject(self) -> str:
        """What it can be judged on."""
        return "model with attention" if self.attention else "model"

    def judged(self, models: Sequence[str], *parts: Verdict) -> Verdict:
        """Combine parts: the claim holds if all hold, and does not if one does not.

        Parts that are only told have no say.
        """
        by_verdict = {part.verdict: part for part in reversed(parts)}
        decided = next(by_verdict[one] for one in (FAILS, UNDECIDED, HOLDS) if one in by_verdict)
        return replace(decided, models=tuple(models), parts=parts)

    def part(self, models: Sequence[str], question: Question, found: Estimate | str) -> Verdict:
        """Judge one quantity by its interval, or say why it could not be estimated."""
        verdict = Verdict(self.name, self.title, tuple(models), UNDECIDED, question)
        if isinstance(found, str):
            return replace(verdict, why=found)
        verdict = replace(verdict, estimate=found)
        if found.n < LEAST_IMAGES:
            return replace(
                verdict, estimate=Estimate(found.value, n=found.n),
                why=f"{_counted(found.n)}, and a verdict needs at least {LEAST_IMAGES}",
            )  # fmt: skip
        if math.isnan(found.low):
            return replace(verdict, why="there is no standard error")
        if verdict.side == "across":
            return replace(verdict, why=f"the interval contains {question.threshold:g}")
        return replace(verdict, verdict=HOLDS if verdict.side == question.wanted else FAILS)

    def aside(self, models: Sequence[str], question: Question, found: Estimate | str) -> Verdict:
        """Tell one quantity beside the claim, without judging it."""
        return replace(self.part(models, question, found), verdict=TOLD)

    def missing(self, why: str) -> Verdict:
        """Say why there is nothing to judge."""
        return Verdict(self.name, self.title, (), UNDECIDED, why=why)


def _counted(n: int) -> str:
    return "one image has a value" if n == 1 else f"{n} images have values"
