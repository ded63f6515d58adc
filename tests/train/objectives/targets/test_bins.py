"""Bins of colours: which one, the cross-entropy, and the way back to a picture."""

import math

import numpy as np
import pytest
import torch

from mimprobe.train.config import IMAGENET_MEAN, IMAGENET_STD
from mimprobe.train.objectives.targets.bins import Bins


def images_of(levels):
    """Normalise 8-bit levels, as the training samples do, in float32."""
    colours = torch.as_tensor(levels, dtype=torch.float32) / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (colours - mean) / std


@pytest.mark.parametrize("bins", [8, 256])
def test_every_level_is_in_its_bin(make_config, bins):
    levels = np.broadcast_to(np.arange(256).reshape(1, 1, 16, 16), (1, 3, 16, 16)).copy()
    found = Bins(make_config(target="bins", bins=bins)).classes(images_of(levels))
    # In whole numbers: floor(bins * level / 255), with 255 itself in the last bin.
    expected = np.minimum(levels * bins // 255, bins - 1)
    assert np.array_equal(found.numpy(), expected)


def test_errors_are_the_cross_entropy_of_each_colour(make_config):
    target = Bins(make_config(target="bins", bins=8))
    draw = np.random.default_rng(0)
    levels = draw.integers(0, 256, (2, 3, 2, 2))
    logits = draw.normal(size=(2, 24, 2, 2))
    found = target.errors(torch.tensor(logits), images_of(levels).double()).numpy()
    for b, row, column in np.ndindex(2, 2, 2):
        total = 0.0
        for c in range(3):
            scores = [logits[b, k * 3 + c, row, column] for k in range(8)]
            wanted = min(levels[b, c, row, column] * 8 // 255, 7)
            total += math.log(sum(map(math.exp, scores))) - scores[wanted]
        assert found[b, row, column] == pytest.approx(total / 3, abs=1e-9)


def test_the_picture_of_certain_bins_is_within_half_a_bin(make_config):
    target = Bins(make_config(target="bins", bins=256))
    images = images_of(np.random.default_rng(0).integers(0, 256, (1, 3, 4, 4)))
    certain = torch.nn.functional.one_hot(target.classes(images), 256).permute(0, 4, 1, 2, 3)
    picture = target.picture(certain.reshape(1, 768, 4, 4).float(), images)
    std = torch.tensor(IMAGENET_STD).view(3, 1, 1)
    assert ((picture - images) * std).abs().max() < 0.5 / 256 + 1e-5
