"""Verdicts in words: marks, models, directions and numbers."""

import math

import pandas as pd
import pytest
from synthetic import THREE, Spec, make_result

from mimprobe.claims import CLAIMS, Claim, claims_of, differences, evaluate_claims
from mimprobe.claims.breadth import CLAIM, WIDER
from mimprobe.claims.estimates import Estimate, within
from mimprobe.claims.locality import LOCAL, NEARER
from mimprobe.figures import model_styles
from mimprobe.report.verdicts import claims_shown, differences_shown, judged_claims, not_judged

LOOKS = model_styles({"m": "mim", "s": "supervised"})
MINUS = "\N{MINUS SIGN}"


def shown(*parts, claim=CLAIM):
    (group,) = claims_shown([claim.judged(("m", "s"), *parts)], ["attention_entropy"], LOOKS)
    (judged,) = group.judged
    return judged, [sentence.striptags() for _, sentence in judged.parts]


@pytest.mark.parametrize(
    ("found", "verdict", "symbol", "words"),
    [
        (within(0.5, 0.2, 40), "holds", "\N{CHECK MARK}",
         "lie 0.5 nats (0.3 to 0.7) farther apart in m than in s."),
        (Estimate(-0.5, -0.8, -0.3, 40), "does not hold", "\N{MULTIPLICATION X}",
         "lie 0.5 nats (0.3 to 0.8) closer together in m than in s."),
        (within(0.1, 0.2, 40), "undecided", "?",
         f"of m and s cannot be told apart: +0.1 nats ({MINUS}0.1 to +0.3)."),
        (within(0.5, 0.2, 9), "undecided", "?", "9 images have values, and a verdict needs at"),
        ("m has no such table", "undecided", "?", "m has no such table."),
        ("more images are needed", "undecided", "?", "More images are needed."),
    ],
)  # fmt: skip
def test_a_verdict_has_mark_models_and_numbers(found, verdict, symbol, words):
    judged, (text,) = shown(CLAIM.part(("m", "s"), WIDER, found))
    assert (judged.verdict, judged.symbol) == (verdict, symbol)
    assert judged.models.striptags() == "m against s"
    assert words in text
    assert text[:1] == text[:1].upper() or text.startswith("m has")
    assert judged.parts[0][0] == ""


def test_parts_have_their_own_marks_and_thresholds():
    judged, (local, nearer) = shown(
        CLAIM.part(("m",), LOCAL, within(0.3, 0.1, 40)),
        CLAIM.part(("m", "s"), NEARER, within(4.0, 1.0, 40)),
    )
    assert judged.verdict == "does not hold"
    assert [mark for mark, _ in judged.parts] == ["\N{CHECK MARK}", "\N{MULTIPLICATION X}"]
    assert (
        "looks 0.30 (0.20 to 0.40) times as far as uniform attention would, less than 0.5" in local
    )
    assert nearer.endswith("is 4.0 px (3.0 to 5.0) larger in m than in s.")


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [(0.4, 0.46, "0.43 (0.40 to 0.46)"), (0.41, 0.4996, "0.4548 (0.4100 to 0.4996)"),
     (0.41, 0.5, "0.45 (0.41 to 0.50)"), (0.41, 0.5 - 1e-9, "0.45500 (0.41000 to 0.50000)")],
)  # fmt: skip
def test_a_number_is_not_written_like_the_threshold_that_it_misses(low, high, written):
    found = Estimate((low + high) / 2, low, high, 40)
    _, (told,) = shown(CLAIM.part(("m",), LOCAL, found))
    assert written in told


@pytest.mark.parametrize("name", ["locality", "diversity", "breadth", "resemblance"])
def test_every_claim_of_a_result_is_told(name):
    result = make_result(THREE)
    verdicts = evaluate_claims(result)
    looks = model_styles({spec.name: spec.kind for spec in THREE})
    groups = claims_shown(verdicts, result, looks)
    assert [group.title for group in groups] == [
        claim.title for claim, _ in claims_of(result).values()
    ]
    assert all(group.section in result for group in groups)
    text = " ".join(
        sentence.striptags()
        for group in groups for judged in group.judged for _, sentence in judged.parts
    )  # fmt: skip
    assert "{" not in text
    assert name in judged_claims(verdicts)
    assert not_judged(verdicts) == []


def test_claims_without_models_are_told_apart():
    result = make_result([Spec("m", "mim", depth=3)])
    verdicts = evaluate_claims(result)
    groups = claims_shown(verdicts, {}, LOOKS)
    assert [group.title for group in groups] == [CLAIMS["diversity"][0].title]
    assert groups[0].section == ""
    assert "MIM layers resemble each other: no supervised model is among those compared." in (
        not_judged(verdicts)
    )
    assert judged_claims(verdicts) == {"diversity"}


def test_names_are_escaped():
    looks = model_styles({"<b>": "mim"})
    claim = Claim("breadth", "Title", "")
    (group,) = claims_shown(
        [claim.judged(("<b>",), claim.part(("<b>",), WIDER, within(1.0, 0.1, 40)))], (), looks
    )
    assert "<b>" not in group.judged[0].models
    assert "<b>" not in group.judged[0].parts[0][1]


def test_differences_have_a_row_for_each_metric_and_pair():
    table = differences(make_result(THREE))
    found = dict(differences_shown(table))
    assert len(found) == 3
    numbers = found["simmim-tiny40 less supervised-tiny40"]
    assert list(numbers.header) == ["Layer means", "all layers", "first half", "last third"]
    assert len(numbers.rows) == 7
    first = table[(table["metric"] == "head_kl") & (table["part"] == "last third")].iloc[0]
    (cell,) = [row[3] for row in numbers.rows if row[0] == "KL between heads (nats)"]
    assert cell.startswith(f"{first['value']:+.3g}"[:3].replace("-", MINUS))
    assert math.isfinite(first["low"])
    assert differences_shown(pd.DataFrame(columns=table.columns)) == []


def test_many_verdicts_are_counted_and_folded():
    parts = [CLAIM.part(("m", "s"), WIDER, within(at, 0.5, 40)) for at in (1.0, 2.0, -1.0, 0.1)]
    verdicts = [CLAIM.judged(("m", "s"), part) for part in parts]
    (few,), (many,) = (claims_shown(some, (), LOOKS) for some in (verdicts, 2 * verdicts))
    assert few.folded == ""
    told = "\N{CHECK MARK} holds: 4, \N{MULTIPLICATION X} does not hold: 2, ? undecided: 2"
    assert many.folded == told
