"""Intervals of what is chosen among heads cover a known truth, whether heads are equal or apart."""

import numpy as np
import pytest

from mimprobe.claims.estimates import errors_of, estimate
from mimprobe.claims.intervals import (
    DRAWS,
    LEAST_IMAGES,
    Sample,
    bootstrap,
    drawn_images,
    reaching_over,
    stretched,
    widening,
)
from mimprobe.claims.quantities import least_local, lower_quartile, mean_spread

TABLES = 500
LAYERS, HEADS = 2, 6


def two_layers(quantity):
    """Apply a quantity of layers to (..., column) of two layers."""
    return lambda columns: quantity([columns[..., :HEADS], columns[..., HEADS:]])


def noise(draw, kind, shape):
    """Zero mean, deviation 1, half of the variance common to an image's heads."""
    if kind == "normal":
        own = draw.standard_normal(shape)
    else:
        own = (draw.lognormal(0, 0.5, shape) - np.exp(0.125)) / np.sqrt(
            (np.exp(0.25) - 1) * np.exp(0.25)
        )
    common = draw.standard_normal((*shape[:-1], 1))
    return np.sqrt(0.5) * (own + common)


def covered(quantity, models, images, kind, seed):
    """Share of synthetic tables whose interval contains the quantity of the true means."""
    draw, hits, batch = np.random.default_rng(seed), 0, 50

    def at(columns):
        return two_layers(quantity)(columns.reshape(len(columns), batch, -1))

    for _ in range(TABLES // batch):
        found, moved = [], []
        for truth in models:
            values = truth + noise(draw, kind, (images, batch, len(truth)))
            sample = Sample(values.reshape(images, -1))
            error = at(sample.means[None])[0] - two_layers(quantity)(truth[None])[0]
            found.append(error)
            moved.append(stretched(at, sample.means, sample.deviations(seed)))
        low, high = found[0] - sum(found[1:]) + reaching_over(*moved)
        hits += int(((low <= 0) & (high >= 0)).sum())
    return hits / TABLES


@pytest.mark.parametrize("kind", ["normal", "skewed"])
@pytest.mark.parametrize(
    ("quantity", "gap"),
    [(mean_spread, 0.0), (mean_spread, 0.3), (lower_quartile, 0.0), (lower_quartile, 2.0),
     (least_local, 0.0), (least_local, 0.3)],
)  # fmt: skip
def test_the_interval_covers_the_truth_on_few_images(quantity, gap, kind):
    """Heads equal, hardly told apart by 16 images (a standard error is 0.25), and far apart."""
    truth = np.tile(np.arange(HEADS) * gap, LAYERS)
    assert covered(quantity, [truth], LEAST_IMAGES, kind, seed=1) >= 0.92


@pytest.mark.parametrize("gap", [0.5, 4.0])
def test_layers_may_differ_where_heads_do_not(gap):
    truth = np.repeat([0.0, gap / 4], HEADS)
    assert covered(least_local, [truth], LEAST_IMAGES, "normal", seed=3) >= 0.92


@pytest.mark.parametrize("gap", [0.0, 0.2])
@pytest.mark.parametrize("quantity", [mean_spread, lower_quartile])
def test_the_interval_of_a_difference_covers_the_truth(quantity, gap):
    """One model's heads are equal and the other's are not: their biases do not cancel."""
    models = [np.zeros(LAYERS * HEADS), np.tile(np.arange(HEADS) * gap, LAYERS)]
    assert covered(quantity, models, 50, "normal", seed=2) >= 0.92


def test_far_apart_the_interval_is_that_of_the_mean_and_not_wider():
    values = np.arange(3.0) * 50 + np.random.default_rng(0).standard_normal((200, 3))
    found = bootstrap(mean_spread, [values], seed=0)
    mean = estimate(values[:, 2] - values[:, 0])
    assert found.value == pytest.approx(mean.value)
    assert (found.low, found.high) == pytest.approx((mean.low, mean.high), abs=0.06 * mean.reach)


def test_the_spread_of_equal_heads_may_be_zero():
    """The percentile bootstrap, which chooses the heads anew in every draw, never says so."""
    values = np.random.default_rng(0).standard_normal((100, 8))
    found = bootstrap(mean_spread, [values], seed=0)
    assert found.low < 0 < found.value < found.high


def test_two_models_are_drawn_with_the_same_images():
    wide = 10 * np.random.default_rng(0).standard_normal((40, 1))
    found = bootstrap(lower_quartile, [wide + 3], [wide], seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((3, 3, 3))


def test_deviations_are_those_of_the_means_of_drawn_images():
    values = np.random.default_rng(0).standard_normal((20, 3))
    values[:4, 1] = np.nan
    moved = Sample(values).deviations(seed=5) / [widening(20), widening(16), widening(20)]
    means = np.nanmean(values, axis=0)
    counts = np.concatenate(list(drawn_images(20, 5)))
    assert counts.shape == (DRAWS, 20)
    assert (counts.sum(1) == 20).all()
    for draw in (0, 7, DRAWS - 1):
        images = np.repeat(np.arange(20), counts[draw].astype(int))
        np.testing.assert_allclose(moved[draw], np.nanmean(values[images], axis=0) - means)


def test_blocks_of_draws_change_nothing(monkeypatch):
    whole = np.concatenate(list(drawn_images(30, 1)))
    monkeypatch.setattr("mimprobe.claims.intervals.BLOCK", 30 * 700)
    blocks = list(drawn_images(30, 1))
    assert len(blocks) == 3
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert (np.concatenate(list(drawn_images(30, 2))) != whole).any()


def test_too_few_images_have_a_value_and_no_interval():
    values = np.ones((40, 2))
    values[: 41 - LEAST_IMAGES, 1] = np.nan
    found = bootstrap(mean_spread, [values], seed=0)
    assert (found.value, found.n) == (0, LEAST_IMAGES - 1)
    assert np.isnan([found.low, found.high]).all()
    values[40 - LEAST_IMAGES, 1] = 1
    assert bootstrap(mean_spread, [values], seed=0).high == pytest.approx(0)


def test_widening_makes_the_variance_whole_and_the_quantile_students():
    assert errors_of(16) == pytest.approx(2.13145, abs=1e-5)
    assert widening(16) == pytest.approx(2.13145 / 1.96 * np.sqrt(16 / 15), rel=1e-5)
    assert widening(10**6) == pytest.approx(1, abs=1e-4)
