"""A tiny run: 24 images in two classes, a two-block ViT, six steps in two epochs."""

import numpy as np
import pytest
from PIL import Image

from mimprobe.train.config import TrainConfig


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name, colour in (("cats", 60), ("dogs", 190)):
        (folder / name).mkdir()
        for number in range(12):
            pixels = np.clip(draw.normal(colour, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture
def make_config():
    def make(objective="simmim", **changes):
        settings = {
            "arch": "vit_tiny_patch16_224",
            "arch_args": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
            "input_size": 32, "epochs": 2, "batch_size": 8, "mask_patch": 16, "warmup_epochs": 0.5,
            "base_learning_rate": 0.05, "drop_path": 0.2, "device": "cpu",
        }  # fmt: skip
        return TrainConfig(objective=objective, **{**settings, **changes})

    return make
