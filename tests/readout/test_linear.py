"""The linear probe against scikit-learn, the condition of its minimum, and closed cases."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mimprobe.errors import OptionError
from mimprobe.readout import READOUTS
from mimprobe.readout.linear import (
    PENALTIES,
    chosen_penalty,
    fitted_probe,
    held_out,
    linear_probe,
)


def clouds(images, *, classes=5, width=12, spread=2.5, seed=0):
    """Classes around centres of their own; features of very different scale and offset."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(images) % classes
    rows = centres[labels] + spread * torch.randn(images, width, generator=draw)
    return rows * torch.logspace(-2, 2, width) + 50, labels


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_is_scikit_learns_logistic_regression_at_the_same_c(strength):
    features, labels = clouds(600)
    queries, truth = clouds(2000, seed=1)
    scaler = StandardScaler().fit(features.double())
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
    model.fit(scaler.transform(features.double()), labels)
    probe = fitted_probe(features, labels, 1 / (strength * 600))
    np.testing.assert_allclose(probe.weights, model.coef_, atol=2e-3 * np.abs(model.coef_).max())
    expected = model.predict(scaler.transform(queries.double()))
    found, right = probe.classes(queries).numpy(), truth.numpy()
    assert (found == expected).mean() > 0.998
    assert abs((found == right).mean() - (expected == right).mean()) <= 0.002


def test_the_gradient_vanishes_at_the_end():
    """Definition in float64: 1/n sum_i (p_i - y_i) x_i^T + penalty W = 0."""
    features, labels = clouds(300)
    probe = fitted_probe(features, labels, 0.03)
    standard = ((features.double() - probe.centre) / probe.scale).numpy()
    logits = standard @ probe.weights.double().numpy().T + probe.intercepts.double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    excess = shares - np.eye(5)[labels]
    whole = excess.T @ standard / 300 + 0.03 * probe.weights.double().numpy()
    assert np.abs(whole).max() < 2e-5
    assert np.abs(excess.sum(0)).max() / 300 < 2e-5


def test_a_start_from_other_weights_ends_in_the_same_place():
    features, labels = clouds(300)
    cold = fitted_probe(features, labels, 0.03)
    warm = fitted_probe(features, labels, 0.03, start=fitted_probe(features, labels, 3.0))
    torch.testing.assert_close(warm.weights, cold.weights, rtol=0, atol=1e-3)


def test_constant_features_and_one_weight_by_hand():
    """Two classes at -1 and 1, a large penalty p: W = 1 / (2 p) to first order, by signs."""
    features = torch.tensor([[-1.0, 7.0], [1.0, 7.0]]).repeat(10, 1)
    probe = fitted_probe(features, torch.tensor([0, 1]).repeat(10), 500.0)
    expected = torch.tensor([[-1e-3, 0.0], [1e-3, 0.0]])
    torch.testing.assert_close(probe.weights, expected, rtol=2e-2, atol=1e-9)


def test_held_out_images_are_a_fifth_of_each_class_drawn_by_the_seed():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    held = held_out(labels, 0)
    assert [int(held[labels == label].sum()) for label in range(4)] == [10, 2, 1, 0]
    assert torch.equal(held, held_out(labels, 0))
    assert not torch.equal(held, held_out(labels, 1))


def test_the_penalty_is_the_best_on_what_is_held_out_by_exhaustion():
    features, labels = clouds(200, width=60, spread=6.0)
    held = held_out(labels, 3)
    probes = [fitted_probe(features[~held], labels[~held], p) for p in PENALTIES]
    right = [probe.classes(features[held]) == labels[held] for probe in probes]
    scores = [one.double().mean().item() for one in right]
    assert chosen_penalty(features, labels, held) == PENALTIES[int(np.argmax(scores))]
    probe = linear_probe(features, labels, seed=3)
    assert probe.penalty == PENALTIES[int(np.argmax(scores))]
    again = fitted_probe(features, labels, probe.penalty)
    assert torch.equal(probe.weights, again.weights)  # fitted again, on all


def test_correct_is_by_query_and_repeats_with_its_seed():
    features, labels = clouds(300)
    queries, truth = clouds(100, seed=1)
    found, penalty = READOUTS["linear"](features, labels, queries, truth, seed=0)
    probe = linear_probe(features, labels, seed=0)
    assert torch.equal(found, probe.classes(queries) == truth)
    assert penalty == probe.penalty
    assert found.double().mean() > 0.5
    wrong = READOUTS["linear"](features, labels, queries, (truth + 1) % 5, seed=0).correct
    assert not (found & wrong).any()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_few_images_of_nearly_even_classes_are_told_apart_at_every_penalty(penalty):
    """With 7 images of most classes and 8 of one, that one must not be named for all."""
    features, labels = clouds(17 * 7, classes=17, width=192, spread=3.0)
    more, _ = clouds(17 * 7 + 17, classes=17, width=192, spread=3.0, seed=5)
    features, labels = torch.cat([features, more[-17:-16]]), torch.cat([labels, labels[:1]])
    queries, truth = clouds(170, classes=17, width=192, spread=3.0, seed=1)
    probe = fitted_probe(features, labels, penalty)
    assert (probe.classes(queries) == truth).double().mean() > 0.5
    assert probe.classes(queries).bincount(minlength=17).max() < 40


def test_what_cannot_be_fitted_is_told():
    features, labels = clouds(20)
    with pytest.raises(OptionError, match="a linear probe of 1 classes"):
        fitted_probe(features, torch.zeros_like(labels), 1.0)
    with pytest.raises(OptionError, match="penalty=-1"):
        fitted_probe(features, labels, -1.0)
    with pytest.raises(OptionError, match="each of 5 images is the only one of its class"):
        linear_probe(features[:5], labels[:5], seed=0)
