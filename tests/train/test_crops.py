"""Crops: what is drawn, and that an image and a batch are cut alike."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mimprobe.train.crops import Crop, cropped, cropped_batch, random_crop

SIDES = st.integers(1, 90)


def photograph(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.5))


@given(SIDES, SIDES, st.floats(0.05, 1), st.floats(0.5, 2), st.integers(0, 99))
def test_crops_lie_in_the_image(height, width, smallest, stretch, seed):
    crop = random_crop(height, width, smallest, stretch, np.random.default_rng(seed))
    assert 0 <= crop.top <= crop.top + crop.height <= height
    assert 0 <= crop.left <= crop.left + crop.width <= width
    assert min(crop.height, crop.width) >= 1


def test_areas_are_uniform_aspects_log_uniform_and_half_are_mirrored():
    draw = np.random.default_rng(0)
    crops = [random_crop(1000, 1000, 0.2, 1.0, draw) for _ in range(4000)]
    area = np.array([crop.height * crop.width / 1e6 for crop in crops])
    aspect = np.array([crop.width / crop.height for crop in crops])
    assert area.min() > 0.199
    assert area.max() <= 1
    # A crop of share a fits if its log aspect is within log a: large ones are drawn again.
    shares = np.linspace(0.2, 1, 10_001)
    fitting = np.minimum(1, -np.log(shares) / np.log(4 / 3))
    assert np.mean(area) == pytest.approx(np.average(shares, weights=fitting), abs=0.01)
    assert np.mean(np.log(aspect)) == pytest.approx(0, abs=0.01)
    assert aspect.min() >= 0.74
    assert aspect.max() <= 1.35
    assert np.mean([crop.mirrored for crop in crops]) == pytest.approx(0.5, abs=0.03)


def test_a_stretched_input_gets_stretched_crops():
    draw = np.random.default_rng(0)
    aspects = [
        crop.width / crop.height
        for crop in (random_crop(300, 900, 0.1, 2.0, draw) for _ in range(500))
    ]
    assert min(aspects) > 1.45
    assert max(aspects) < 2.72


@pytest.mark.parametrize("size", [(24, 24), (64, 64), (40, 24)])
def test_a_batch_is_cut_as_pillow_cuts_each_image(size):
    pictures = [photograph(48, 60, seed) for seed in range(12)]
    draw = np.random.default_rng(3)
    crops = [random_crop(48, 60, 0.1, size[1] / size[0], draw) for _ in pictures]
    batch = torch.stack([torch.from_numpy(np.array(picture)) for picture in pictures])
    found = cropped_batch(batch, torch.tensor(crops), size)
    expected = torch.stack(
        [cropped(picture, crop, size) for picture, crop in zip(pictures, crops, strict=True)]
    )
    assert found.shape == (12, 3, *size)
    assert {crop.mirrored for crop in crops} == {0, 1}
    assert (found - expected).abs().max() <= 2


def test_the_whole_image_at_its_own_size_is_itself():
    picture = photograph(20, 30)
    batch = torch.from_numpy(np.array(picture))[None]
    whole = torch.tensor([Crop(0, 0, 20, 30, 0)])
    assert torch.allclose(
        cropped_batch(batch, whole, (20, 30))[0], batch[0].permute(2, 0, 1).float()
    )


def test_one_grey_stays_one_grey():
    batch = torch.full((4, 17, 23, 3), 77, dtype=torch.uint8)
    draw = np.random.default_rng(0)
    crops = torch.tensor([random_crop(17, 23, 0.08, 1.0, draw) for _ in range(4)])
    assert torch.allclose(cropped_batch(batch, crops, (32, 32)), torch.tensor(77.0), atol=1e-3)
