"""Tensors into a network: whole or not at all, with an account of each."""

import copy
import warnings

import numpy as np
import pytest
import scipy.interpolate
import scipy.optimize
import timm
import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import nn

from mimprobe.errors import CheckpointError
from mimprobe.zoo.convert import Converted
from mimprobe.zoo.fill import Allowed, fill


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def converted(tensors, **changes) -> Converted:
    return Converted({**tensors, **changes}, {}, {})


def error_of(network, tensors, **options) -> str:
    """Give the message, and see that nothing was loaded."""
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(CheckpointError) as caught:
        fill(network, tensors, "w.pth", **options)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_file(network):
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    report = fill(network, converted(other.state_dict()), "w.pth", checked="by eye")
    assert set(report.matched) == set(network.state_dict())
    assert torch.equal(network[0].weight, other[0].weight)
    assert report.summary() == (
        "7 tensors matched, 0 of them renamed and 0 resized; 0 dropped on purpose, 0 missing, none "
        "unexpected; by eye"
    )
    assert list(report.rows()) == []


def test_what_does_not_fit_is_listed(network):
    tensors = network.state_dict()
    del tensors["0.bias"]
    changed = converted(tensors, **{"2.extra": torch.ones(1), "0.weight": torch.ones(4, 5)})
    assert error_of(network, changed) == (
        "w.pth does not fit the architecture, nothing was loaded: 1 missing in the file: 0.bias; 1 "
        "unexpected in the file: 2.extra; 1 of another shape: 0.weight (4, 5) for (4, 3); name "
        "another arch, or see what the file is with 'mimprobe models check'"
    )


def test_many_keys_are_counted(network):
    extra = {f"x.{number}": torch.ones(1) for number in range(9)}
    found = error_of(network, converted(network.state_dict(), **extra))
    assert "9 unexpected in the file: x.0, x.1, x.2, x.3, x.4, x.5 and 3 more;" in found


def test_a_card_may_allow_it_with_a_reason(network):
    tensors = network.state_dict()
    del tensors["0.bias"]
    allowed = Allowed({"0.b*": "starts at zero"}, {"head.*": "not used"})
    kept = network[0].bias.detach().clone()
    found = Converted(
        {**tensors, "head.weight": torch.ones(2)}, {"net.head.weight": "head.weight"}, {}
    )
    report = fill(network, found, "w.pth", allowed=allowed)
    assert report.missing == {"0.bias": "starts at zero"}
    assert report.dropped == {"net.head.weight": "not used"}
    assert torch.equal(network[0].bias, kept)
    assert report.describe()["missing"] == {"0.bias": "starts at zero"}
    assert "1 of another" not in error_of(
        network, converted(tensors, other=torch.ones(1)), allowed=allowed
    )


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (torch.full((4, 3), torch.nan), "holds NaN or infinity in 0.weight, nothing was loaded"),
        (torch.full((4, 3), torch.inf), "holds NaN or infinity in 0.weight, nothing was loaded"),
        (torch.ones(4, 3, dtype=torch.int64), "0.weight integers for real numbers"),
        (torch.ones(4, 3, dtype=torch.complex64), "0.weight complex numbers for real numbers"),
        (torch.ones(4, 3).to_sparse(), "0.weight torch.float32 torch.sparse_coo for real numbers"),
    ],
)
def test_numbers_that_are_none(network, tensor, told):
    assert told in error_of(network, converted(network.state_dict(), **{"0.weight": tensor}))


def test_half_precision_is_widened(network):
    halves = {key: t.half() if t.is_floating_point() else t for key, t in
              network.state_dict().items()}  # fmt: skip
    fill(network, converted(halves), "w.pth")
    assert network[0].weight.dtype == torch.float32
    assert torch.equal(network[0].weight, halves["0.weight"].float())


SMALL = {"embed_dim": 24, "depth": 1, "num_heads": 3, "patch_size": 8, "num_classes": 0}


def test_positions_are_resized_as_timm_does_and_told():
    old = timm.create_model("vit_tiny_patch16_224", img_size=32, **SMALL)
    new = timm.create_model("vit_tiny_patch16_224", img_size=(48, 64), **SMALL)
    assert "1 of another shape: pos_embed (1, 17, 24) for (1, 49, 24)" in error_of(
        new, converted(old.state_dict())
    )
    report = fill(new, converted(old.state_dict()), "w.pth", resize=True)
    assert report.resized == {"pos_embed": "17 to 49 positions"}
    assert torch.equal(new.pos_embed, resample_abs_pos_embed(old.pos_embed, new_size=[6, 8]))
    assert ("resized", "pos_embed", "17 to 49 positions") in list(report.rows())


def geometric_resize(table, window, new_window):
    """Linear interpolation between distances 1, 1 + q, 1 + q + q^2, ... that end at the new one."""
    side, reach = 2 * window - 1, new_window - 1

    def steps(q):
        return np.cumsum(q ** np.arange(window - 1))

    ratio = scipy.optimize.brentq(lambda q: steps(q)[-1] - reach, 1.0001, 1.5, xtol=1e-12)
    places = np.concatenate([-steps(ratio)[::-1], [0], steps(ratio)])
    wanted = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1)
    columns = [
        scipy.interpolate.RegularGridInterpolator(
            (places, places), column.reshape(side, side), bounds_error=False, fill_value=None
        )(wanted).ravel()
        for column in table.double().numpy().T
    ]
    return torch.from_numpy(np.stack(columns, 1)).float()


def test_relative_positions_are_resized_as_timm_does_and_told():
    small = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 4), "num_classes": 0}
    old = timm.create_model("swin_tiny_patch4_window7_224", img_size=56, **small)
    new = timm.create_model("swin_tiny_patch4_window7_224", img_size=80, window_size=10, **small)
    report = fill(new, converted(old.state_dict()), "w.pth", resize=True)
    key = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert report.resized[key] == "169 to 361 relative positions"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = resize_rel_pos_bias_table(
            old.state_dict()[key], new_window_size=(10, 10), new_bias_shape=(361, 2)
        )
    assert torch.equal(new.state_dict()[key], expected)
    by_hand = geometric_resize(old.state_dict()[key], 7, 10)
    torch.testing.assert_close(new.state_dict()[key], by_hand, rtol=1e-5, atol=1e-7)


def test_the_report_is_escaped(network):
    found = Converted(network.state_dict(), {}, {"<b>": "a < b"})
    html = fill(network, found, "w.pth")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "a &lt; b" in html
