"""Effective receptive fields of real networks: closed forms, and what is left untouched."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from scipy.signal import convolve2d
from torch import nn

import mimprobe
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import NonFiniteError, OptionError, UnknownNameError
from mimprobe.experiments.field import SHARES
from mimprobe.tables import PIXEL_COLUMNS, read_result

KERNEL = np.array([[1, 2, 1], [0, 3, 1], [2, 1, 4]], dtype=float)


def pictures(count=4, size=(40, 40)):
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(1, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)
    ]


def prepare(*size):
    """Positive pixels, so that the ReLU over features of positive weights is open."""
    return Preprocessing(size, (0.0,) * 3, (1.0,) * 3, "bicubic", 1.0, "squash").transform()


def linear_stack(depth):
    """A ConvNeXt whose first stage is nothing but depth-wise convolutions with one kernel."""
    model = timm.create_model(
        "convnext_atto", patch_size=1, depths=(depth, 1, 1, 1), dims=(3, 4, 4, 4)
    )
    model.stem = nn.Identity()
    blocks = [nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False) for _ in range(depth)]
    for block in blocks:
        block.weight.data[:] = torch.from_numpy(KERNEL).float()
    model.stages[0].blocks = nn.Sequential(*blocks)
    return model


def field(model, images, size, **arguments):
    result = mimprobe.receptive_field(
        {"m": model}, images, transform=prepare(*size), device="cpu", **arguments
    )
    return map_of(result["receptive_field"]), result


def map_of(table, metric="contribution"):
    rows = table[table["metric"] == metric]
    return rows.pivot(index="row", columns="column", values="value").to_numpy(float)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_stack_of_convolutions_gives_the_power_of_their_kernel(layer):
    found, result = field(linear_stack(4), pictures(), (25, 21), layer=layer)
    power = np.ones((1, 1))
    for _ in range(layer + 1):
        power = convolve2d(power, KERNEL)
    expected = np.zeros((25, 21))
    reach = layer + 1
    expected[12 - reach : 13 + reach, 10 - reach : 11 + reach] = power / power.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
    squares = result["receptive_field"].query("metric == 'square_side'")
    assert squares["share"].tolist() == list(SHARES)
    for share, side in zip(squares["share"], squares["value"], strict=True):
        half = int(side - 1) // 2
        inside = expected[12 - half : 13 + half, 10 - half : 11 + half].sum()
        within = expected[13 - half : 12 + half, 11 - half : 10 + half].sum() if half else 0
        assert within < share <= inside
    assert (squares["se"] == 0).all()  # a linear network has the same field on every image
    assert set(squares["row"]) == {12.0}
    assert set(squares["column"]) == {10.0}


def test_a_resnet_stands_over_its_pixels():
    """With equal weights the map is even but for max pooling; over the patch's middle: 115.5."""
    model = timm.create_model("resnet18")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1e-2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    found, result = field(model, pictures(2), (224, 224), layer=3)
    rows, columns = np.indices(found.shape)
    middle = result["receptive_field"].query("metric == 'square_side'").iloc[0]
    assert (middle["row"], middle["column"]) == (112, 112)
    assert (found * rows).sum() == pytest.approx(112, abs=0.3)
    assert (found * columns).sum() == pytest.approx(112, abs=0.3)


PLAIN = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "depth": 2}
STAGED = {
    "img_size": 32, "window_size": 4, "depths": (2, 2), "embed_dim": 8, "num_heads": (2, 2)
}  # fmt: skip
TINY = {
    "vit_tiny_patch16_224": PLAIN,
    "beit_base_patch16_224": PLAIN,
    "swin_tiny_patch4_window7_224": STAGED,
    "swinv2_tiny_window8_256": STAGED,
    "resnet18": {},
    "convnext_atto": {"dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("name", TINY)
def test_every_family(name):
    torch.manual_seed(0)
    model = timm.create_model(name, **TINY[name])
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    parts = [field(model, pictures(5), (32, 32), batch_size=size) for size in (1, 5)]
    (one, result), (whole, _) = parts
    np.testing.assert_allclose(one, whole, rtol=1e-3, atol=1e-7)
    assert whole.shape == (32, 32)
    assert whole.sum() == pytest.approx(1)
    assert (whole >= 0).all()
    table = result["receptive_field"]
    assert tuple(table.columns) == PIXEL_COLUMNS
    assert (table["n"] == 5).all()
    assert table["se"].gt(0).any()


def test_the_mean_over_images_of_each_image_s_share():
    torch.manual_seed(0)
    model = timm.create_model("test_vit", img_size=32)
    several, result = field(model, pictures(3), (32, 32))
    alone = np.stack([field(model, [one], (32, 32))[0] for one in pictures(3)])
    np.testing.assert_allclose(several, alone.mean(0), rtol=1e-3, atol=1e-8)
    rows = result["receptive_field"].query("metric == 'contribution'")
    se = rows.pivot(index="row", columns="column", values="se").to_numpy(float)
    np.testing.assert_allclose(se, alone.std(0, ddof=1) / np.sqrt(3), rtol=2e-3, atol=1e-8)
    _, single = field(model, pictures(1), (32, 32))
    assert single["receptive_field"]["se"].isna().all()


def test_the_absolute_part_counts_both_signs():
    torch.manual_seed(0)
    model = timm.create_model("test_vit", img_size=32)
    positive, _ = field(model, pictures(2), (32, 32))
    both, result = field(model, pictures(2), (32, 32), part="absolute")
    assert not np.allclose(positive, both)
    described = result.manifest["analyzers"]["receptive_field"]
    assert described["part"] == "absolute"
    assert "the absolute part of it" in described["definition"]


def test_the_network_is_left_as_it_was():
    model = timm.create_model("test_vit", img_size=32)
    model.train()
    model.blocks[0].eval()
    model.blocks[0].attn.qkv.weight.requires_grad_(False)
    model.blocks[1].attn.qkv.weight.grad = torch.ones_like(model.blocks[1].attn.qkv.weight)
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    field(model, pictures(2), (32, 32))
    assert modes == [module.training for module in model.modules()]
    assert flags == [parameter.requires_grad for parameter in model.parameters()]
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    grads = {name for name, one in model.named_parameters() if one.grad is not None}
    assert grads == {"blocks.1.attn.qkv.weight"}
    assert bool((model.blocks[1].attn.qkv.weight.grad == 1).all())
    assert not any(module._forward_hooks for module in model.modules())


def test_written_and_read_back_with_a_report(tmp_path):
    models = {"a": linear_stack(2), "b": timm.create_model("test_vit", img_size=32)}
    result = mimprobe.receptive_field(
        models, pictures(3), transform=prepare(32, 32), device="cpu", kinds={"b": "mim"}
    )
    page = mimprobe.write_report(result, tmp_path / "out").read_text()
    assert "Effective receptive field" in page
    assert "holds this share of the contribution" in page
    assert (tmp_path / "out/figures/receptive_field.png").is_file()
    again = read_result(tmp_path / "out")["receptive_field"]
    pd.testing.assert_frame_equal(again, result["receptive_field"], check_dtype=False)


def test_bad_input_is_one_line():
    model = timm.create_model("test_vit", img_size=32)
    with pytest.raises(OptionError, match="has 6 layers, so there is no layer 7; choose 1 to 6"):
        field(model, pictures(1), (32, 32), layer=6)
    with pytest.raises(UnknownNameError, match="unknown part of the gradient 'relu'"):
        field(model, pictures(1), (32, 32), part="relu")
    with pytest.raises(OptionError, match="batch_size must be at least 1, not 0"):
        field(model, pictures(1), (32, 32), batch_size=0)
    model.blocks[0].mlp.fc1.weight.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"model 'm' gave NaN .* blocks\.5\.out on image '"):
        field(model, pictures(1), (32, 32))
