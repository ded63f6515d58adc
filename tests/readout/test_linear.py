"""The linear probe against scikit-learn, the condition of its minimum, and closed cases."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mimprobe.errors import OptionError
from mimprobe.readout import READOUTS
from mimprobe.readout.linear import (
    STRENGTHS,
    chosen_strength,
    fitted_probe,
    held_out,
    linear_probe,
    linear_probe_correct,
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
    probe = fitted_probe(features, labels, strength)
    np.testing.assert_allclose(probe.weights, model.coef_, atol=2e-3 * np.abs(model.coef_).max())
    expected = model.predict(scaler.transform(queries.double()))
    found, right = probe.classes(queries).numpy(), truth.numpy()
    assert (found == expected).mean() > 0.998
    assert abs((found == right).mean() - (expected == right).mean()) <= 0.002


def test_the_gradient_vanishes_at_the_end():
    """Definition in float64: C sum_i (p_i - y_i) x_i^T + W = 0."""
    features, labels = clouds(300)
    probe = fitted_probe(features, labels, 0.1)
    standard = ((features.double() - probe.centre) / probe.scale).numpy()
    logits = standard @ probe.weights.double().numpy().T + probe.intercepts.double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    excess = shares - np.eye(5)[labels]
    whole = 0.1 * excess.T @ standard + probe.weights.double().numpy()
    assert np.abs(whole).max() / (0.1 * 300) < 2e-5
    assert np.abs(excess.sum(0)).max() / 300 < 2e-5


def test_a_start_from_other_weights_ends_in_the_same_place():
    features, labels = clouds(300)
    cold = fitted_probe(features, labels, 0.1)
    warm = fitted_probe(features, labels, 0.1, start=fitted_probe(features, labels, 1e-3))
    torch.testing.assert_close(warm.weights, cold.weights, rtol=0, atol=1e-3)


def test_constant_features_and_one_weight_by_hand():
    """Two classes at -1 and 1, C small: W = C/2 sum_i y_i x_i to first order, opposite in sign."""
    features = torch.tensor([[-1.0, 7.0], [1.0, 7.0]]).repeat(10, 1)
    probe = fitted_probe(features, torch.tensor([0, 1]).repeat(10), 1e-4)
    expected = torch.tensor([[-1e-3, 0.0], [1e-3, 0.0]])
    torch.testing.assert_close(probe.weights, expected, rtol=2e-2, atol=1e-9)


def test_held_out_images_are_a_fifth_of_each_class_drawn_by_the_seed():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    held = held_out(labels, 0)
    assert [int(held[labels == label].sum()) for label in range(4)] == [10, 2, 1, 0]
    assert torch.equal(held, held_out(labels, 0))
    assert not torch.equal(held, held_out(labels, 1))


def test_the_strength_is_the_best_on_what_is_held_out_by_exhaustion():
    features, labels = clouds(200, width=60, spread=6.0)
    held = held_out(labels, 3)
    probes = [fitted_probe(features[~held], labels[~held], c) for c in STRENGTHS]
    right = [probe.classes(features[held]) == labels[held] for probe in probes]
    scores = [one.double().mean().item() for one in right]
    assert chosen_strength(features, labels, held) == STRENGTHS[int(np.argmax(scores))]
    probe = linear_probe(features, labels, seed=3)
    assert probe.strength == STRENGTHS[int(np.argmax(scores))]
    again = fitted_probe(features, labels, probe.strength)
    assert torch.equal(probe.weights, again.weights)  # fitted again, on all


def test_correct_is_by_query_and_repeats_with_its_seed():
    features, labels = clouds(300)
    queries, truth = clouds(100, seed=1)
    found = linear_probe_correct(features, labels, queries, truth, seed=0)
    assert found.tolist() == READOUTS["linear"](features, labels, queries, truth, seed=0).tolist()
    assert found.double().mean() > 0.5
    wrong = linear_probe_correct(features, labels, queries, (truth + 1) % 5, seed=0)
    assert not (found & wrong).any()


def test_what_cannot_be_fitted_is_told():
    features, labels = clouds(20)
    with pytest.raises(OptionError, match="a linear probe of 1 classes"):
        fitted_probe(features, torch.zeros_like(labels), 1.0)
    with pytest.raises(OptionError, match="C=-1"):
        fitted_probe(features, labels, -1.0)
    with pytest.raises(OptionError, match="each of 5 images is the only one of its class"):
        linear_probe(features[:5], labels[:5], seed=0)
