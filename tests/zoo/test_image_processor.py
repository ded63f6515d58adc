"""Image processors of transformers as `Preprocessing`: entry by entry, and pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from mimprobe.errors import CheckpointError
from mimprobe.zoo.image_processor import preprocessing_of


def processor_entries(**changes):
    return {
        "do_resize": True, "size": {"height": 224, "width": 224}, "resample": 3,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
    } | changes  # fmt: skip


SHORTEST = {"size": {"shortest_edge": 256}, "do_center_crop": True}
CROP = {"crop_size": {"height": 224, "width": 224}}


@pytest.mark.parametrize(
    ("changes", "size", "share", "mode"),
    [
        ({}, (224, 224), 1, "squash"),
        ({"size": {"height": 96, "width": 160}}, (96, 160), 1, "squash"),
        (
            {"size": {"height": 256, "width": 256}, "do_center_crop": True} | CROP,
            (224, 224), 0.875, "squash",
        ),
        (SHORTEST | CROP, (224, 224), 0.875, "center"),
        (CROP, (224, 224), 1, "squash"),
    ],
)  # fmt: skip
def test_sizes(changes, size, share, mode):
    found = preprocessing_of(processor_entries(**changes))
    assert (found.input_size, found.crop_mode) == (size, mode)
    assert found.crop_pct == pytest.approx(share)
    assert found.interpolation == "bicubic"
    assert found.mean == pytest.approx((0.5, 0.4, 0.3))
    assert found.std == pytest.approx((0.2, 0.3, 0.4))


def test_every_share_leads_back_to_the_size_it_came_from():
    for edge in range(225, 520):
        crop = {"do_center_crop": True, "size": {"shortest_edge": edge}} | CROP
        found = preprocessing_of(processor_entries(**crop))
        assert int(224 / found.crop_pct) == edge


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_resize": False}, "keep their own size"),
        ({"size": {"shortest_edge": 224}}, "keep their own shape"),
        ({"size": {"longest_edge": 224}}, "resized to"),
        (
            {"do_center_crop": True, "crop_size": {"height": 256, "width": 256}},
            "256 pixels are cut",
        ),
        ({"do_center_crop": True, "crop_size": {"height": 112, "width": 224}}, "different shares"),
        (
            SHORTEST | {"crop_size": {"height": 224, "width": 112}},
            "224 x 112 pixels are cut out of an image of any shape",
        ),
        ({"do_pad": True}, "do_pad is set"),
    ],
)
def test_what_cannot_be_expressed_is_an_error(changes, message):
    with pytest.raises(CheckpointError, match=message):
        preprocessing_of(processor_entries(**changes))


PROCESSORS = {
    "vit": ("ViTImageProcessor", {"size": {"height": 32, "width": 48}}),
    "deit": (
        "DeiTImageProcessor",
        {"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}},
    ),
    "dinov2": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
    ),
    "beit": ("BeitImageProcessor", {"size": {"height": 32, "width": 32}, "do_center_crop": False}),
    "lanczos": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}, "resample": 1}),
    "not normalised": (
        "ViTImageProcessor", {"size": {"height": 32, "width": 32}, "do_normalize": False},
    ),
    "to plus and minus one": (
        "ViTImageProcessor",
        {"size": {"height": 32, "width": 32}, "rescale_factor": 1 / 127.5,
         "image_mean": [1, 1, 1], "image_std": [1, 1, 1]},
    ),
    "not rescaled": (
        "ViTImageProcessor",
        {"size": {"height": 32, "width": 32}, "do_rescale": False,
         "image_mean": [127.5, 120, 110], "image_std": [60, 61, 62]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_prepared_as_the_processor_prepares_them(name):
    kind, arguments = PROCESSORS[name]
    transformers = pytest.importorskip("transformers", reason="needs mimprobe[hf]")
    processor = getattr(transformers, kind)(**arguments)
    found = preprocessing_of(processor.to_dict())
    draw = np.random.default_rng(0)
    rough = Image.fromarray(draw.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    image = rough.resize((91, 67), Image.Resampling.BICUBIC)
    ours = found.transform()(image)
    theirs = torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"][0])
    assert ours.shape == theirs.shape
    steps = 255 * (ours - theirs).abs() * torch.tensor(found.std).view(3, 1, 1)
    assert steps.max() < 2.5  # of 255: torchvision's resizing rounds otherwise than Pillow's
    assert steps.mean() < 0.5
