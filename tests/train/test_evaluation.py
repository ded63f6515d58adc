"""Accuracy against counting by hand, and its interval against its definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mimprobe.data.images import open_images
from mimprobe.errors import NonFiniteError
from mimprobe.train.evaluation import (
    NORMAL_QUANTILE,
    Evaluation,
    LabelledImages,
    correct,
    counted,
    evaluate,
    wilson_interval,
)
from mimprobe.train.preprocessing import preprocessing_of


def by_hand(outputs, labels):
    first, five, loss = 0, 0, 0.0
    for row, label in zip(outputs.tolist(), labels.tolist(), strict=True):
        ranked = sorted(range(len(row)), key=lambda place: -row[place])
        first += ranked[0] == label
        five += label in ranked[:5]
        loss += math.log(sum(math.exp(value) for value in row)) - row[label]
    return first, five, loss


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_counts_are_those_by_hand(classes):
    draw = torch.Generator().manual_seed(classes)
    outputs = torch.randn(40, classes, generator=draw, dtype=torch.float64)
    labels = torch.randint(classes, (40,), generator=draw)
    found = counted(outputs, labels)
    first, five, loss = by_hand(outputs, labels)
    assert (found.n, found.top1, found.top5) == (40, first, five)
    assert found.loss == pytest.approx(loss, rel=1e-12)


def test_equal_outputs_are_no_hits():
    found = counted(torch.zeros(3, 7, dtype=torch.float64), torch.tensor([0, 3, 6]))
    assert (found.top1, found.top5) == (0, 0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_ends_of_the_interval_are_where_the_score_test_turns(trials):
    hits, n = trials
    low, high = wilson_interval(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1 and 0 < hits < n:
            score = abs(hits / n - end) / math.sqrt(end * (1 - end) / n)
            assert score == pytest.approx(NORMAL_QUANTILE, rel=1e-6)


def test_parts_add_up():
    whole = Evaluation(3, 1, 2, 0.5) + Evaluation(1, 1, 1, 0.25)
    assert whole == Evaluation(4, 2, 3, 0.75)
    told = whole.describe()
    assert (told["n"], told["top1"], told["top5"], told["loss"]) == (4, 0.5, 0.75, 0.1875)


class Brightness(nn.Module):
    """Two classes: dark and bright; counts in training mode only, to show which mode it is in."""

    def __init__(self):
        super().__init__()
        self.sign = nn.Parameter(torch.tensor([-1.0, 1.0]))
        self.calls = 0

    def forward(self, images):
        assert not self.training
        self.calls += 1
        return images.mean((1, 2, 3))[:, None] * self.sign


@pytest.mark.parametrize("batch_size", [1, 7, 24])
def test_every_image_is_classified_once_whatever_the_batch(photos, make_config, batch_size):
    images = open_images(photos)
    labels = [int(name == "dogs") for name in images.labels]  # the bright ones
    labels[0] = 1
    config = make_config(batch_size=batch_size)
    shown = LabelledImages(images, labels, preprocessing_of(nn.Identity(), config))
    network = Brightness().train()
    found = evaluate(network, shown, config, torch.device("cpu"))
    assert (found.n, found.top1, found.top5) == (24, 23, 24)
    assert network.calls == math.ceil(24 / batch_size)
    assert network.training
    hits = correct(network, shown, config, torch.device("cpu"))
    assert (~hits).nonzero().flatten().tolist() == [0]


def test_outputs_that_are_no_numbers_are_not_counted():
    outputs = torch.zeros(3, 4)
    outputs[1, 2] = torch.nan
    with pytest.raises(NonFiniteError, match="no numbers for 1 of 3 images"):
        counted(outputs, torch.tensor([0, 1, 2]))
