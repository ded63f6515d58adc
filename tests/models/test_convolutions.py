"""Families of large depth-wise convolutions: names, strides, kernels."""

import pytest
import timm
import torch
from torch import nn

from mimprobe.hooks import capture
from mimprobe.models.convolutions import depthwise_convolutions
from mimprobe.models.sites import layout

SMALL = {"depths": (1, 2, 1, 1), "dims": (8, 8, 16, 16)}


@pytest.mark.parametrize(
    ("name", "family", "sites"),
    [("convnext_atto", "convnext", 5), ("inception_next_atto", "inceptionnext", 5)],
)
def test_stages_and_layers(name, family, sites):
    places = layout(timm.create_model(name, **SMALL))
    assert places.family == family
    assert places.attention_sites == ()
    assert places.feature_sites == (
        "stages.0.blocks.0.out", "stages.1.blocks.0.out", "stages.1.blocks.1.out",
        "stages.2.blocks.0.out", "stages.3.blocks.0.out",
    )  # fmt: skip
    assert [places[site].layer for site in places.feature_sites] == list(range(sites))


@pytest.mark.parametrize(
    ("arguments", "strides", "spacings"),
    [
        ({}, (4, 8, 8, 16, 32), (4, 8, 8, 16, 32)),
        ({"output_stride": 8}, (4, 8, 8, 8, 8), (4, 8, 8, 16, 32)),
        ({"patch_size": 2}, (4, 8, 8, 16, 32), (4, 8, 8, 16, 32)),
        ({"patch_size": 8}, (8, 16, 16, 32, 32), (8, 16, 16, 32, 64)),
        ({"stem_type": "overlap"}, (4, 8, 8, 16, 32), (4, 8, 8, 16, 32)),
    ],
)
def test_features_and_spacing_of_taps(arguments, strides, spacings):
    """Strides of what a pass shows, on an input that no stride divides."""
    model = timm.create_model("convnext_atto", **SMALL, **arguments).eval()
    places = layout(model)
    with torch.inference_mode(), capture(model, places.feature_sites) as seen:
        model(torch.randn(2, 3, 150, 198))
    for name, stride in zip(places.feature_sites, strides, strict=True):
        geometry = seen[name].geometry
        assert geometry.stride == (stride, stride)
        assert abs(150 / stride - geometry.grid[0]) < 1
        assert abs(198 / stride - geometry.grid[1]) < 1
        assert seen[name].tokens.shape[1] == geometry.grid[0] * geometry.grid[1]
    found = depthwise_convolutions(places)
    assert [one.spacing for one in found] == [(step, step) for step in spacings]


def test_captured_features_are_the_map_with_channels_last():
    model = timm.create_model("convnext_atto", **SMALL).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        expected = model.stages[1](model.stages[0](model.stem(images)))
        with capture(model, ["stages.1.blocks.1.out"]) as seen:
            model(images)
    tokens = seen["stages.1.blocks.1.out"].tokens
    torch.testing.assert_close(tokens, expected.permute(0, 2, 3, 1).flatten(1, 2))
    assert seen["stages.1.blocks.1.out"].geometry.grid == (8, 12)


def test_kernels_are_those_of_the_blocks():
    model = timm.create_model("convnext_atto", **SMALL, kernel_sizes=(31, 29, 27, 13))
    found = depthwise_convolutions(layout(model))
    assert [tuple(one.kernels.shape) for one in found] == [
        (8, 31, 31), (8, 29, 29), (8, 29, 29), (16, 27, 27), (16, 13, 13),
    ]  # fmt: skip
    assert {one.name for one in found} == {"conv_dw"}
    weight = model.stages[1].blocks[1].conv_dw.weight
    assert torch.equal(found[2].kernels, weight[:, 0])
    assert not found[2].kernels.requires_grad
    assert (found[2].site, found[2].layer) == ("stages.1.blocks.1.out", 2)


def test_bands_of_inception_next_and_their_dilation():
    model = timm.create_model("inception_next_atto", **SMALL, output_stride=16)
    last = [one for one in depthwise_convolutions(layout(model)) if one.layer == 4]
    assert [tuple(one.kernels.shape[1:]) for one in last] == [(3, 3), (1, 9), (9, 1)]
    # Stages keep a stride of 16; a band is dilated along itself only.
    assert [one.spacing for one in last] == [(32, 32), (16, 32), (32, 16)]


def test_dense_grouped_and_pointwise_convolutions_do_not_count():
    model = timm.create_model("convnext_atto", **SMALL)
    model.stages[0].blocks[0].conv_dw = nn.Conv2d(8, 8, 7, padding=3, groups=4)
    model.stages[1].blocks[0].conv_dw = nn.Conv2d(8, 8, 1, groups=8)
    assert [one.layer for one in depthwise_convolutions(layout(model))] == [2, 3, 4]


@pytest.mark.parametrize("name", ["test_vit", "resnet18", "resnext50_32x4d"])
def test_other_families_have_none(name):
    assert depthwise_convolutions(layout(timm.create_model(name))) == ()
