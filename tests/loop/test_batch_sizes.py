"""No number depends on how many images went through the network at once."""

import numpy as np
import pytest
import timm
import torch

from mimprobe import probe
from mimprobe.analyzers import ANALYZERS

IMAGES = 64
SIZES = {"vit": (48, 80), "windows": (72, 72), "maps": (64, 64)}


@pytest.fixture(scope="module")
def results():
    torch.manual_seed(0)
    draw = np.random.default_rng(1)
    pictures = [
        (draw.integers(0, 256, (80, 80, 3), dtype=np.uint8), f"{n:03}") for n in range(IMAGES)
    ]
    models = {
        "vit": timm.create_model(
            "vit_tiny_patch16_224", img_size=SIZES["vit"], depth=3, embed_dim=48, num_heads=3
        ),
        "windows": timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=SIZES["windows"], depths=(2, 2), embed_dim=16,
            num_heads=(2, 4), window_size=7,
        ),
        "maps": timm.create_model("resnet18"),
    }  # fmt: skip
    for name in ("vit", "windows"):
        for parameter in models[name].parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    return {
        size: {
            name: probe({name: model}, pictures, transform=cut_to(SIZES[name]), batch_size=size)
            for name, model in models.items()
        }
        for size in (1, 7, 64)
    }


def cut_to(size):
    def cut(picture):
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 128 - 1
        return pixels[:, : size[0], : size[1]]

    return cut


@pytest.mark.parametrize("model", SIZES)
@pytest.mark.parametrize("size", [1, 7])
def test_tables_agree(results, model, size):
    assert set(results[64][model]) <= set(ANALYZERS)
    for name, whole in results[64][model].items():
        other = results[size][model][name]
        keys = [column for column in whole if whole[column].dtype.kind not in "f"]
        assert other[keys].equals(whole[keys])
        for metric, rows in whole.groupby("metric"):
            values = rows["value"].to_numpy(float)
            found = other.loc[rows.index, "value"].to_numpy(float)
            scale = np.nanmean(np.abs(values))
            # Convolutions round otherwise for other batches, and behind a ReLU the median
            # activation, by which this ratio divides, can be as small as their rounding.
            share = 1e-4 if (model, metric) == ("maps", "activation_ratio") else 1e-6
            np.testing.assert_allclose(found, values, rtol=0, atol=share * scale, err_msg=metric)
