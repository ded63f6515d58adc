"""Claims of the papers as predicates over tables: holds, does not hold, undecided.

What belongs here: quantities with their intervals, and judging them. What does not: measuring,
drawing, and the look of a verdict.

Definitions: "Revealing the Dark Secrets of Masked Image Modeling" (Xie et al., arXiv 2205.13543).
The unit is the image: a verdict is about these checkpoints, not about ways of training.
"""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from mimprobe.claims import breadth, diversity, dropping, exchange, locality, resemblance
from mimprobe.claims.evidence import Evidence
from mimprobe.claims.layer_pairs import LAYER_DIFFERENCE_COLUMNS, layer_test_differences
from mimprobe.claims.paired import DIFFERENCE_COLUMNS, differences
from mimprobe.claims.verdicts import FAILS, HOLDS, TOLD, UNDECIDED, Claim, Question, Verdict
from mimprobe.tables import LAYER_TESTS, Result

Entry = tuple[Claim, Callable[[Evidence], Iterator[Verdict]]]
"""A claim, and what judges it."""

CLAIMS: dict[str, Entry] = {
    "locality": (locality.CLAIM, locality.judge),
    "diversity": (diversity.CLAIM, diversity.judge),
    "breadth": (breadth.CLAIM, breadth.judge),
    "resemblance": (resemblance.CLAIM, resemblance.judge),
    "exchange": (exchange.CLAIM, exchange.judge),
    "dropping": (dropping.CLAIM, dropping.judge),
}
"""Claims by name, in the order in which a report tells them."""

CLAIM_COLUMNS = (
    "claim", "title", "model", "other_model", "verdict", "quantity", "part_verdict", "value", "low",
    "high", "wanted", "threshold", "unit", "n", "why",
)  # fmt: skip
"""A row for each part of each verdict."""


def evaluate_claims(result: Result) -> list[Verdict]:
    """Judge the claims of a result on every model, or pair of a MIM and a supervised model.

    Intervals are those of 95 %: Student's for means over images, a bootstrap over images for what
    is chosen among heads, a jackknife over groups of images for CKA; of layer tests the variance
    between seeds is in them too. A claim is undecided where its interval contains the threshold, or
    fewer than 16 images have values.

    Args:
        result: measured, or read back.

    Returns:
        Verdicts, in the order of `CLAIMS`; at least one for each of `claims_of`, which says what is
        missing where the result lacks its table or the models to judge it on.
    """
    evidence = Evidence(result)
    verdicts: list[Verdict] = []
    for claim, judge in claims_of(result).values():
        if claim.table in result:
            verdicts += judge(evidence)
        else:
            verdicts.append(claim.missing(f"the table {claim.table} was not measured"))
    return verdicts


def claims_of(result: Result) -> dict[str, Entry]:
    """Choose the claims that a result of its kind is asked about.

    Claims about layer tests are asked of results that have their table, the others of any but a
    result of layer tests and read-outs alone.
    """
    learnt_alone = len(result) > 0 and set(result) <= {*LAYER_TESTS, "readout"}
    return {
        name: (claim, judge) for name, (claim, judge) in CLAIMS.items()
        if claim.table in result or not (learnt_alone or claim.table in LAYER_TESTS)
    }  # fmt: skip


def claims_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Write verdicts as a tidy table, a row for each of their parts."""
    rows = [
        (
            verdict.claim, verdict.title, *(*part.models, "", "")[:2], verdict.verdict,
            part.question.quantity if part.question else "", part.verdict, part.estimate.value,
            part.low, part.high, part.question.wanted if part.question else "", part.threshold,
            part.unit, part.n, part.why,
        )
        for verdict in verdicts
        for part in verdict.parts or (verdict,)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS))


__all__ = [
    "CLAIMS", "CLAIM_COLUMNS", "DIFFERENCE_COLUMNS", "FAILS", "HOLDS", "LAYER_DIFFERENCE_COLUMNS",
    "TOLD", "UNDECIDED", "Claim", "Evidence", "Question", "Verdict", "claims_of", "claims_table",
    "differences", "evaluate_claims", "layer_test_differences",
]  # fmt: skip
