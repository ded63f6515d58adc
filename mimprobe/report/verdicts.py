"""The claims at the top of the page: each verdict in words, with its numbers.

What belongs here: marks and sentences of verdicts, and the table of differences. What does not:
judging (`mimprobe.claims`).
"""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from mimprobe.claims import CLAIMS, FAILS, HOLDS, UNDECIDED, Verdict
from mimprobe.claims.estimates import Estimate
from mimprobe.figures import LABELS
from mimprobe.report.numbers import Numbers
from mimprobe.report.sentences import Looks
from mimprobe.report.wording import MOST_DECIMALS, amount, decimals, named

SYMBOLS = {HOLDS: "\N{CHECK MARK}", FAILS: "\N{MULTIPLICATION X}", UNDECIDED: "?"}
BESIDE = "\N{MIDDLE DOT}"
"""Mark of a part that decides nothing."""


MOST_MORE = 3
"""Decimals that a number gets at most beyond those of its interval, to differ from a threshold."""

MOST_SHOWN = 4
"""Verdicts of one claim that the page shows unfolded."""


@dataclass(frozen=True)
class Judged:
    """A verdict on some models as the page shows it."""

    verdict: str
    symbol: str
    models: Markup
    parts: Sequence[tuple[str, Markup]]
    """Sentences, each with the mark of its part; no mark where there is only one."""


@dataclass(frozen=True)
class ClaimShown:
    """A claim with all its verdicts, and the section that shows its values."""

    title: str
    section: str
    judged: Sequence[Judged]

    @property
    def folded(self) -> str:
        """How many verdicts there are of each kind, where they are too many to be read at once."""
        found = [one.verdict for one in self.judged]
        told = [
            f"{mark} {one}: {found.count(one)}" for one, mark in SYMBOLS.items() if one in found
        ]
        return ", ".join(told) if len(found) > MOST_SHOWN else ""


def claims_shown(
    verdicts: Sequence[Verdict], tables: Collection[str], looks: Looks
) -> list[ClaimShown]:
    """Group verdicts on models by claim; claims without models to judge are left out.

    A claim is linked to the section of its table, if there is such a table.
    """
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.models:
            groups.setdefault(verdict.claim, []).append(verdict)
    return [
        ClaimShown(
            group[0].title,
            table if (table := CLAIMS[name][0].table) in tables else "",
            [_judged(verdict, looks) for verdict in group],
        )
        for name, group in groups.items()
    ]


def not_judged(verdicts: Sequence[Verdict]) -> list[str]:
    """Say of each claim without models what is missing."""
    return [f"{verdict.title}: {verdict.why}." for verdict in verdicts if not verdict.models]


def _judged(verdict: Verdict, looks: Looks) -> Judged:
    models = [named(model, looks[model]) for model in verdict.models]
    sentences = {
        _sentence(part, looks): SYMBOLS.get(part.verdict, BESIDE) for part in verdict.parts
    }
    return Judged(
        verdict.verdict, SYMBOLS[verdict.verdict], Markup(" against ").join(models),
        [(mark if len(sentences) > 1 else "", text) for text, mark in sentences.items()],
    )  # fmt: skip


def _sentence(part: Verdict, looks: Looks) -> Markup:
    """Say what was found, or why nothing could be."""
    if not part.sentence:
        named_first = any(part.why.startswith(f"{model} ") for model in looks)
        first = part.why[:1] if named_first else part.why[:1].upper()
        return Markup("{}{}.").format(first, part.why[1:])
    names = [named(model, looks[model]) for model in part.models]
    told = Markup(part.sentence).format(
        first=names[0], second=names[-1], threshold=f"{part.threshold:g}", amount=_amount(part)
    )
    return Markup("{}{}.").format(told[:1].upper(), told[1:])


def _amount(part: Verdict) -> Markup:
    """Write a difference without its sign where the sentence says its direction."""
    found, unit = part.estimate, part.unit if part.unit != "1" else ""
    if part.threshold == 0 and part.side == "below":
        turned = Estimate(-found.value, -found.high, -found.low)
        return amount(turned, unit)
    signed = part.threshold == 0 and part.side == "across"
    return amount(found, unit, signed=signed, least=_apart(found, part.threshold))


def _apart(found: Estimate, threshold: float) -> int:
    """Give the decimals with which no end of the interval is written like the threshold."""
    places = decimals(found)
    ends = [end for end in (found.low, found.high) if math.isfinite(end) and end != threshold]
    most = min(places + MOST_MORE, MOST_DECIMALS)
    while places < most and any(round(end - threshold, places) == 0 for end in ends):
        places += 1
    return places


def differences_shown(table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Show how far each two models are apart over parts of the network, a table for each pair."""
    parts = table[table["part"] != "layer"]
    return [
        (f"{model} less {other}", _pair(rows))
        for (model, other), rows in parts.groupby(["model", "other_model"], sort=False)
    ]


def _pair(parts: pd.DataFrame) -> Numbers:
    columns, rows = list(dict.fromkeys(parts["part"])), []
    for (metric, unit), group in parts.groupby(["metric", "unit"], sort=False):
        cells = {row["part"]: _cell(row) for row in group.to_dict("records")}
        label = LABELS.get(str(metric), str(metric)) + ("" if unit == "1" else f" ({unit})")
        rows.append([label, *(cells.get(part, "") for part in columns)])
    return Numbers(["Layer means", *columns], rows)


def _cell(row: Mapping[Hashable, Any]) -> Markup:
    return amount(Estimate(row["value"], row["low"], row["high"]), "", signed=True)


def layer_differences_shown(table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Show how much more one model loses than another at each point, a table for each pair."""
    return [
        (f"Loss of {model} less that of {other}", _points(rows))
        for (model, other), rows in table.groupby(["model", "other_model"], sort=False)
    ]


def _points(rows: pd.DataFrame) -> Numbers:
    """Give a column for each test and read-out, a row for each number of blocks changed."""
    columns = list(dict.fromkeys(zip(rows["test"], rows["metric"], strict=True)))
    cells = {
        (row["test"], row["metric"], row["changed"]): _cell(row) for row in rows.to_dict("records")
    }
    header = [f"{test}: {LABELS.get(metric, metric)}" for test, metric in columns]
    return Numbers(
        ["changed", *header],
        [
            [str(changed), *(cells.get((*column, changed), "") for column in columns)]
            for changed in sorted(set(rows["changed"]))
        ],
    )


def judged_claims(verdicts: Sequence[Verdict]) -> set[str]:
    """Name the claims with a number for some model: what they tell is not told again."""
    return {verdict.claim for verdict in verdicts if any(part.sentence for part in verdict.parts)}
