"""Heads: what shape comes out, and in which order."""

import numpy as np
import pytest
import timm
import torch

from mimprobe.errors import OptionError
from mimprobe.train.objectives.heads import HEADS, Outlet, linear
from mimprobe.train.objectives.inverse_swin import InverseSwin


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_linear_head_is_the_original_arithmetic(scale):
    """The 1 x 1 convolution and PixelShuffle, restated in NumPy with their channel order."""
    torch.manual_seed(0)
    head = linear(Outlet(5, (2, 3), 4, 3, scale)).double()
    features = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    weight = head[0].weight.detach().numpy()[:, :, 0, 0]
    bias = head[0].bias.detach().numpy()
    side = 4 // scale
    expected = np.zeros((2, 3, 2 * side, 3 * side))
    for b, c, row, column in np.ndindex(2, 3, 2 * side, 3 * side):
        channel = c * side**2 + (row % side) * side + column % side
        place = features[b, :, row // side, column // side].numpy()
        expected[b, c, row, column] = weight[channel] @ place + bias[channel]
    np.testing.assert_allclose(head(features).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_a_target_coarser_than_the_features_gets_their_mean():
    torch.manual_seed(0)
    head = linear(Outlet(5, (4, 4), 8, 3, 16))
    features = torch.randn(1, 5, 4, 4)
    each = torch.nn.functional.conv2d(features, head[0].weight, head[0].bias)
    expected = each.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5))
    torch.testing.assert_close(head(features), expected)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize(("stride", "grid"), [(32, (2, 1)), (16, (4, 2))])
def test_every_head_gives_every_resolution(name, scale, stride, grid):
    outlet = Outlet(6, grid, stride, 5, scale)
    with torch.device("meta"):
        predicted = HEADS[name](outlet)(torch.zeros(2, 6, *grid))
    assert predicted.shape == (2, 5, grid[0] * stride // scale, grid[1] * stride // scale)


@pytest.mark.parametrize(
    ("base", "depths", "name"),
    [(96, (2, 2, 6, 2), "swin_tiny_patch4_window7_224"),
     (128, (2, 2, 18, 2), "swin_base_patch4_window7_224")],
)  # fmt: skip
def test_inverse_swin_has_the_blocks_of_swin_in_reverse(base, depths, name):
    with torch.device("meta"):
        swin = timm.create_model(name)
        body = InverseSwin(7, (7, 7), 32, until=1, base=base, depths=depths, head_width=32)
    stages = [layer.stage for layer in body.layers if hasattr(layer, "stage")]
    for stage, mirrored in zip(stages, reversed(swin.layers), strict=True):
        assert [(key, value.shape) for key, value in stage.blocks.state_dict().items()] == [
            (key, value.shape) for key, value in mirrored.blocks.state_dict().items()
        ]
    assert (body.width, body.grid, body.stride) == (base, (56, 56), 4)


def test_inverse_swin_begins_at_the_stage_of_its_stride_and_ends_at_the_target():
    with torch.device("meta"):
        bodies = [
            InverseSwin(7, (8, 8), stride, until=until, base=8, depths=(1, 1, 1, 1), head_width=4)
            for stride, until in ((16, 1), (32, 8), (14, 1), (4, 1))
        ]
    found = [(body.layers[0].out_channels, body.width, body.stride) for body in bodies]
    assert found == [(32, 8, 4), (64, 16, 8), (32, 16, 7), (8, 8, 4)]


def test_resolutions_that_do_not_divide_are_refused():
    with pytest.raises(OptionError, match="a target at 1/3 of the input does not fit 4 x 4 feat"):
        Outlet(8, (4, 4), 8, 3, 3).check()
    with pytest.raises(OptionError, match="choose a target_scale that divides 8"):
        Outlet(8, (3, 4), 8, 3, 16).check()
