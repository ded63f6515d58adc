"""Nearest neighbours against a loop in float64, scikit-learn, and closed cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from mimprobe.errors import OptionError
from mimprobe.readout import READOUTS, neighbours
from mimprobe.readout.neighbours import nearest_neighbours_correct


def oracle(features, labels, queries, truth, k, temperature):
    """Vote by vote, in float64."""
    correct = []
    for query, label in zip(queries.double().numpy(), truth.tolist(), strict=True):
        scores = []
        for reference, vote in zip(features.double().numpy(), labels.tolist(), strict=True):
            cosine = reference @ query / np.linalg.norm(reference) / np.linalg.norm(query)
            scores.append((cosine, vote))
        votes = {}
        for cosine, vote in sorted(scores, reverse=True)[:k]:
            votes[vote] = votes.get(vote, 0) + np.exp(cosine / temperature)
        correct.append(max(votes, key=votes.get) == label)
    return correct


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), k=st.integers(1, 12), temperature=st.sampled_from([0.07, 1.0]))
def test_matches_the_definition(seed, k, temperature):
    draw = torch.Generator().manual_seed(seed)
    features, queries = (torch.randn(n, 5, generator=draw) for n in (30, 9))
    labels, truth = (torch.randint(4, (n,), generator=draw) for n in (30, 9))
    found = nearest_neighbours_correct(
        features, labels, queries, truth, k=k, temperature=temperature
    )
    assert found.tolist() == oracle(features, labels, queries, truth, k, temperature)


def test_separated_classes_are_found_whatever_their_scale():
    labels = torch.arange(4).repeat(10)
    features = torch.eye(4)[labels] * torch.rand(40, 1) + 0.01 * torch.randn(40, 4)
    assert nearest_neighbours_correct(
        features, labels, 100 * torch.eye(4), torch.arange(4), k=5
    ).all()


def test_the_nearer_minority_wins_by_weight():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    correct = nearest_neighbours_correct(
        features, torch.tensor([1, 0, 0]), torch.tensor([[1.0, 0.1]]), torch.tensor([1]), k=3
    )
    assert correct.tolist() == [True]


def test_k_out_of_range():
    with pytest.raises(OptionError, match="k=5 neighbours out of 3 images"):
        nearest_neighbours_correct(
            torch.eye(3), torch.arange(3), torch.eye(3), torch.arange(3), k=5
        )


def test_agrees_with_scikit_learn_over_several_blocks(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 64)
    draw = torch.Generator().manual_seed(0)
    labels, truth = torch.arange(600) % 6, torch.arange(200) % 6
    centres = torch.randn(6, 16, generator=draw)
    features, queries = (
        centres[own] + 2 * torch.randn(len(own), 16, generator=draw) for own in (labels, truth)
    )
    voting = KNeighborsClassifier(
        20, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07)
    ).fit(features.numpy(), labels)
    expected = voting.predict(queries.numpy()) == truth.numpy()
    found = nearest_neighbours_correct(features, labels, queries, truth)
    assert found.tolist() == expected.tolist()
    assert 0.2 < found.double().mean() < 0.95
    assert torch.equal(
        READOUTS["knn"](features, labels, queries, truth, seed=1).correct, found
    )  # the same by name, and whatever the seed
