"""Batches: normalised, in order, alike wherever they are cropped, with their waiting counted."""

import time

import pytest
import torch

from mimprobe.data.images import open_images
from mimprobe.train.feed import Feed
from mimprobe.train.finish import Finish, Prepared, samples_of
from mimprobe.train.memory import prepared
from mimprobe.train.objectives import SimMIM
from mimprobe.train.preprocessing import preprocessing_of
from mimprobe.train.samples import CropSamples, EpochOrder, TrainSamples

CPU = torch.device("cpu")


@pytest.fixture
def images(photos):
    return prepared(open_images(photos), cache="on", megabytes=10).images


@pytest.fixture
def loaded(images, make_config):
    config = make_config()
    model = SimMIM(config, [])
    labels = [0] * len(images)
    return samples_of(images, labels, model.sample, config, CPU, preprocessing_of(model, config))


def finished(found, config, order):
    feed = Feed(found.samples, config, found.finish.device)
    return (found.finish(batch) for batch in feed.batches(order))


def test_batches_are_normalised_samples_in_order(loaded, make_config):
    config = make_config()
    order = EpochOrder(24, config, 1)
    for keys, (images, masks) in zip(order, finished(loaded, config, order), strict=True):
        for key, image, mask in zip(keys, images, masks, strict=True):
            pixels, drawn = loaded.samples[key]
            mean = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
            std = torch.tensor((0.229, 0.224, 0.225))[:, None, None]
            assert torch.allclose(image, (pixels / 255 - mean) / std, atol=1e-6)
            assert torch.equal(mask, drawn)


def test_crops_on_the_device_are_those_of_the_loader(images, loaded, make_config):
    """The same draws; the pixels differ by Pillow's rounding, and noise overshoots 0..255."""
    config = make_config()
    stack = images.origin.stacked()
    crops = CropSamples(
        (40, 48), loaded.samples.labels, loaded.samples.draw, smallest=config.crop_scale,
        stretch=1.0, seed=config.seed,
    )  # fmt: skip
    preprocessing = preprocessing_of(torch.nn.Identity(), config)
    resident = Prepared(crops, Finish(preprocessing, CPU, stack))
    order = EpochOrder(24, config, 0)
    pairs = (finished(found, config, order) for found in (loaded, resident))
    for (one, mask), (other, same_mask) in zip(*pairs, strict=True):
        assert torch.equal(mask, same_mask)
        grey_levels = (one - other).abs() * 255 * 0.229
        assert grey_levels.mean() < 0.6
        assert grey_levels.max() < 12


def test_waiting_is_the_share_of_time_in_the_loader(loaded, make_config, monkeypatch):
    config = make_config()
    take = TrainSamples.__getitem__

    def slowly(self, key):
        time.sleep(0.005)
        return take(self, key)

    def share(computing):
        feed = Feed(loaded.samples, config, CPU)
        for _ in feed.batches(EpochOrder(24, config, 0)):
            time.sleep(computing)
        return feed.waiting

    monkeypatch.setattr(TrainSamples, "__getitem__", slowly)
    assert share(0.0) > 0.8
    assert share(0.4) < 0.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_crops_what_is_in_memory(images, make_config):
    config = make_config(device="cuda")
    model = SimMIM(config, [])
    found = samples_of(
        images, [0] * 24, model.sample, config, torch.device("cuda"),
        preprocessing_of(model, config),
    )  # fmt: skip
    assert isinstance(found.samples, CropSamples)
    for pixels, masks in finished(found, config, EpochOrder(24, config, 0)):
        assert pixels.device.type == masks.device.type == "cuda"
        assert pixels.isfinite().all()
