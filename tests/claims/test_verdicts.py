"""Which side of the threshold an interval lies on, and what parts make of a claim."""

import itertools
import math

import pytest

from mimprobe.claims.estimates import Estimate
from mimprobe.claims.intervals import LEAST_IMAGES
from mimprobe.claims.verdicts import FAILS, HOLDS, UNDECIDED, Claim, Question

CLAIM = Claim("name", "Title", "table")


def question(wanted="below", threshold=0.5):
    return Question("quantity", "px", wanted, "is above", "is below", "is open", threshold)


@pytest.mark.parametrize(
    ("low", "high", "wanted", "verdict", "sentence"),
    [
        (0.1, 0.4, "below", HOLDS, "is below"), (0.1, 0.4, "above", FAILS, "is below"),
        (0.6, 0.9, "below", FAILS, "is above"), (0.6, 0.9, "above", HOLDS, "is above"),
        (0.4, 0.6, "below", UNDECIDED, "is open"), (0.4, 0.6, "above", UNDECIDED, "is open"),
        (0.5, 0.6, "above", UNDECIDED, "is open"), (0.5, 0.5, "below", UNDECIDED, "is open"),
    ],
)  # fmt: skip
def test_an_interval_decides(low, high, wanted, verdict, sentence):
    found = CLAIM.part(("a", "b"), question(wanted), Estimate((low + high) / 2, low, high, 40))
    assert (found.verdict, found.sentence) == (verdict, sentence)
    assert (found.low, found.high, found.n) == (low, high, 40)
    assert (found.threshold, found.unit, found.models) == (0.5, "px", ("a", "b"))
    assert (found.why == "the interval contains 0.5") == (verdict == UNDECIDED)


@pytest.mark.parametrize("n", [0, 1, LEAST_IMAGES - 1])
def test_too_few_images_decide_nothing_whatever_the_interval(n):
    found = CLAIM.part(("a",), question(), Estimate(0.1, 0.09, 0.11, n))
    assert (found.verdict, found.estimate.value, found.n) == (UNDECIDED, 0.1, n)
    assert math.isnan(found.low)
    assert found.sentence == ""
    assert f"at least {LEAST_IMAGES}" in found.why


def test_without_an_error_or_a_value_nothing_is_decided():
    bare = CLAIM.part(("a",), question(), Estimate(0.1, n=40))
    assert (bare.verdict, bare.why) == (UNDECIDED, "there is no standard error")
    absent = CLAIM.part(("a",), question(), "a has no such table")
    assert (absent.verdict, absent.why) == (UNDECIDED, "a has no such table")


@pytest.mark.parametrize(
    "verdicts", list(itertools.product([HOLDS, FAILS, UNDECIDED], repeat=2)), ids="-".join
)
def test_a_claim_holds_if_all_parts_do_and_fails_if_one_does(verdicts):
    known = {HOLDS: (0.1, 0.2), FAILS: (0.6, 0.7), UNDECIDED: (0.4, 0.6)}
    parts = [CLAIM.part(("a",), question(), Estimate(0.0, *known[one], 40)) for one in verdicts]
    whole = CLAIM.judged(("a", "b"), *parts)
    expected = FAILS if FAILS in verdicts else UNDECIDED if UNDECIDED in verdicts else HOLDS
    assert whole.verdict == expected
    assert whole.models == ("a", "b")
    assert whole.parts == tuple(parts)
    assert whole.estimate == parts[verdicts.index(expected)].estimate


def test_a_claim_without_models_says_why():
    found = CLAIM.missing("no MIM model")
    assert (found.verdict, found.models, found.parts) == (UNDECIDED, (), ())
    assert (found.why, found.title, found.sentence) == ("no MIM model", "Title", "")
    assert math.isnan(found.threshold)
    assert found.unit == ""
