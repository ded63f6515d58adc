"""Sentences have the right direction, numbers and models, and claim nothing without evidence."""

import math

import numpy as np
import pytest

from mimprobe.claims.estimates import Estimate, estimate, within
from mimprobe.figures import model_styles
from mimprobe.report.sentences import change, difference, extremes, values_of

LOOKS = model_styles(dict.fromkeys("abcdef", "mim"))
BASE = np.arange(16.0)  # wide over images: only the paired difference is narrow
WAVE = 0.92 * np.array([-1.0, 1.0] * 8)  # its mean is 0 +- 0.506
REACH = 0.92 * 2.13145 * math.sqrt(16 / 15) / 4


def told(samples, trained=None):
    return difference(
        {model: estimate(sample) for model, sample in samples.items()},
        lambda high, low: estimate(samples[high] - samples[low]),
        list(samples) if trained is None else trained, where="Here", unit="px",
        more="{high} is {amount} above {low}", looks=LOOKS,
    ).striptags()  # fmt: skip


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_larger_is_named_first_and_the_difference_is_paired(order):
    samples = {"a": BASE, "b": BASE + 15 + WAVE}
    assert pytest.approx(0.506, abs=1e-3) == REACH
    assert told({model: samples[model] for model in order}) == (
        "Here, b is 15.0 px (14.5 to 15.5) above a."
    )


@pytest.mark.parametrize(
    ("shift", "claim"), [(0, False), (0.9 * REACH, False), (1.1 * REACH, True), (-9.0, True)]
)
def test_an_interval_that_contains_zero_gives_no_claim(shift, claim):
    text = told({"a": BASE, "b": BASE + shift + WAVE})
    assert ("above" in text) == claim
    assert ("cannot be told apart" in text) != claim


def test_what_cannot_be_told_apart_has_a_signed_interval():
    assert told({"a": BASE, "b": BASE + 0.24 + WAVE}) == (
        "Here, b and a cannot be told apart: +0.2 px (\N{MINUS SIGN}0.3 to +0.7)."
    )
    assert "cannot be told apart" in told({"a": BASE, "b": BASE.copy()})


def test_untrained_controls_are_not_compared_if_two_models_are_trained():
    samples = {"a": BASE, "b": BASE + 5, "c": BASE + 90, "d": BASE - 90}
    assert told(samples, ["a", "b"]) == "Here, b is 5.00 px (5.00 to 5.00) above a."
    text = told(samples, ["a"])
    assert text.startswith("Here, c is 180 px")
    assert text.endswith("above d, the largest difference among the 4 models.")


def test_of_many_models_the_extremes_are_told():
    samples = {"a": BASE + 3, "b": BASE + 8, "c": BASE + 1, "d": BASE + 5}
    assert told(samples) == (
        "Here, b is 7.00 px (7.00 to 7.00) above c, the largest difference among the 4 trained "
        "models."
    )


def test_one_model_has_no_difference():
    assert told({"a": BASE}) == ""
    assert told({"a": BASE}, ["a", "b"]) == ""


def test_values_are_listed_or_of_many_the_extremes():
    values = {model: within(float(place), 0.5) for place, model in enumerate("bca")}
    assert values_of(values, "nats", LOOKS).striptags() == (
        "b 0.0 nats (\N{MINUS SIGN}0.5 to 0.5), c 1.0 nats (0.5 to 1.5) and a 2.0 nats (1.5 to 2.5)"
    )
    many = {model: Estimate(float(place)) for place, model in enumerate("cabdfe")}
    assert values_of(many, "px", LOOKS).striptags() == "from c 0.00 px to e 5.00 px"


def test_changes_have_their_sign():
    before = {"a": BASE, "b": BASE + 9}
    after = {"a": BASE + 2 + WAVE, "b": BASE + WAVE, "c": BASE}
    assert change(before, after, "nats", LOOKS).striptags() == (
        "changes by +2.0 nats (+1.5 to +2.5) in a (from 7.50 to 9.50) and by \N{MINUS SIGN}9.0 "
        "nats (\N{MINUS SIGN}9.5 to \N{MINUS SIGN}8.5) in b (from 16.5 to 7.50)"
    )


def test_of_many_models_only_the_directions_are_told():
    before = dict.fromkeys("abcde", BASE)
    steps = {"a": -3, "b": 4, "c": 0.1, "d": 9, "e": -8}
    after = {model: BASE + step + WAVE for model, step in steps.items()}
    assert change(before, after, "nats", LOOKS).striptags() == (
        "rises in d and b, stays within its interval in c and falls in a and e"
    )


def test_extremes():
    assert extremes({"a": 3.0, "b": -1.0, "c": 2.0}) == ("b", "a")
