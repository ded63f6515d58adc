"""Another input size: what is resized, with which function, and that the report says so."""

import warnings

import numpy as np
import pytest
import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from timm.models import beit as timm_beit
from timm.models import swin_transformer, vision_transformer
from zoo.sources import plain_swin, plain_vit
from zoo.sources.made_files import (
    assert_same_tokens,
    images,
    inside,
    load,
    numbers,
    write,
    write_card,
)
from zoo.sources.swin_formats import Sizes, swin, swinv2
from zoo.sources.vit_formats import beit, linear, mae_decoder, simmim, vit

from mimprobe.errors import CheckpointError
from mimprobe.models.sites import layout
from mimprobe.zoo.load import load_model

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
"""timm's interpolation makes torch warn; `test_a_resized_load_is_quiet` is about that."""

WIDE = {"width": 768, "depth": 1, "grid": 3, "patch": 8, "hidden": 96}
SWIN = Sizes(width=8, heads=(1, 2, 4, 8), window=4, side=64, hidden=2)


def assert_same_state(module, expected):
    own = module.state_dict()
    assert own.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(own[key], tensor, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("prefix", [("cls_token",), ("cls_token", "dist_token")])
@pytest.mark.parametrize("side", [16, 40])
def test_positions_of_a_vit(tmp_path, side, prefix):
    heads = linear("head", 768, 10) | linear("head_dist", 768, 10) if len(prefix) > 1 else {}
    decoder = {} if heads else mae_decoder(encoder=768, width=16, depth=1, grid=3, patch=8)
    state = numbers(vit(**WIDE, prefix=prefix, heads=heads) | decoder)
    loaded = load(write(tmp_path / "w.pth", {"model": state}), input_size=side)
    encoder = {key: tensor for key, tensor in state.items() if key not in decoder}
    expected = resample_abs_pos_embed(
        state["pos_embed"], new_size=[side // 8] * 2, num_prefix_tokens=len(prefix)
    )
    assert torch.equal(expected[:, : len(prefix)], state["pos_embed"][:, : len(prefix)])
    assert_same_state(loaded.module, encoder | {"pos_embed": expected})
    timms = vision_transformer.checkpoint_filter_fn(dict(encoder), loaded.module)
    assert_same_state(loaded.module, timms)
    old, new = 9 + len(prefix), (side // 8) ** 2 + len(prefix)
    assert loaded.load_report.resized == {"pos_embed": f"{old} to {new} positions"}
    assert loaded.load_report.describe()["resized"] == loaded.load_report.resized
    assert loaded.preprocessing.input_size == (side, side)
    plain = inside(encoder, "") | {"pos_embed": expected.double()}
    tokens = plain_vit.vit(plain, images(side), heads=12, prefix=prefix)
    assert_same_tokens(loaded, images(side), tokens)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("grid", [3, 7])
def test_relative_positions_of_simmims_vit(tmp_path, grid, shared):
    sizes = {"width": 24, "depth": 2, "heads": 3, "grid": 5, "patch": 4, "hidden": 40}
    if shared:
        shapes = simmim(beit(**sizes, mask_token=True), features=24, stride=4)
    else:
        shapes = beit(**sizes, shared=False, final="fc_norm", top=linear("head", 24, 10))
    state = numbers(shapes)
    loaded = load(write(tmp_path / "w.pth", {"model": state}), input_size=4 * grid)
    names = [name for name in state if name.endswith("bias_table")]
    start = "encoder." if shared else ""
    expected = {
        name.removeprefix(start): resize_rel_pos_bias_table(
            state[name], new_window_size=(grid, grid), new_bias_shape=((2 * grid - 1) ** 2 + 3, 3)
        )
        for name in names
    }
    own = loaded.module.state_dict()
    for name, table in expected.items():
        assert torch.equal(own[name], table)
        assert torch.equal(table[-3:], state[start + name][-3:])
    told = f"84 to {(2 * grid - 1) ** 2 + 3} relative positions"
    assert loaded.load_report.resized == dict.fromkeys(expected, told)
    encoder = {name.removeprefix(start): tensor for name, tensor in state.items()}
    encoder = {name: encoder[name] for name in own}
    timms = timm_beit.checkpoint_filter_fn(encoder, loaded.module)
    assert_same_state(loaded.module, timms)
    plain = inside({**encoder, **expected}, "")
    tokens = plain_vit.vit(plain, images(4 * grid), heads=3, final="norm" if shared else None)
    assert_same_tokens(loaded, images(4 * grid), tokens)


@pytest.mark.parametrize(("side", "windows"), [(128, (4, 4, 4, 4)), (32, (4, 4, 2, 1))])
def test_swin_at_another_size_has_windows_no_larger_than_its_maps(tmp_path, side, windows):
    """As the original code: the window is the map, unshifted, where the map is not larger."""
    state = numbers(swin(SWIN, classes=10))
    loaded = load(write(tmp_path / "w.pth", {"model": state}), input_size=side)
    timms = swin_transformer.checkpoint_filter_fn(dict(state), loaded.module)
    assert_same_state(loaded.module, timms)
    own = loaded.module.state_dict()
    changed = {
        name: own[name] for name, tensor in state.items()
        if name.endswith("bias_table") and own[name].shape != tensor.shape
    }  # fmt: skip
    assert loaded.load_report.resized == {
        name: f"{len(state[name])} to {len(table)} relative positions"
        for name, table in changed.items()
    }
    assert {name[:8] for name in changed} == ({"layers.3"} if side == 128 else
                                              {"layers.2", "layers.3"})  # fmt: skip
    blocks = [stage.blocks[1] for stage in loaded.module.layers]
    assert tuple(block.window_size[0] for block in blocks) == windows
    maps = [side // 4 // 2**stage for stage in range(4)]
    assert [block.shift_size[0] for block in blocks] == [2 if m > 4 else 0 for m in maps]
    plain = inside({**state, **changed}, "")
    tokens = plain_swin.swin(plain, images(side, 1), heads=SWIN.heads, window=4)
    assert_same_tokens(loaded, images(side, 1), tokens)
    places = layout(loaded.module)
    assert places.reading.window(blocks[3]).shift == (0, 0)


def test_swinv2_at_another_size_keeps_the_coordinates_of_its_training(tmp_path):
    state = numbers(swinv2(SWIN, classes=10))
    loaded = load(write(tmp_path / "w.pth", {"model": state}), input_size=128)
    assert loaded.load_report.resized == {}
    x, plain = images(128, 1), inside(state, "")
    expected, other = (
        plain_swin.swinv2(plain, x, heads=SWIN.heads, window=4, trained=trained)
        for trained in ((4, 4, 4, 2), None)
    )
    assert (expected - other).abs().max() > 1e-3
    assert_same_tokens(loaded, x, expected)


@pytest.mark.parametrize("kind", ["vit", "beit", "swin"])
def test_nothing_is_resized_that_the_user_did_not_ask_for(tmp_path, kind):
    shapes = {
        "vit": vit(**WIDE, heads=linear("head", 768, 10)),
        "beit": beit(width=24, depth=1, heads=3, grid=5, patch=4, hidden=40),
        "swin": swin(SWIN),
    }[kind]
    state = numbers(shapes)
    if kind == "vit":
        state["pos_embed"] = state["pos_embed"][:, :-2]
    else:
        name = next(name for name in state if name.endswith("bias_table"))
        state[name] = state[name][:-1]
    with pytest.raises(CheckpointError):
        load(write(tmp_path / "w.pth", {"model": state}))


@pytest.mark.parametrize("named", ["arch", "card"])
def test_a_network_of_another_size_is_not_filled_by_resizing_unasked(tmp_path, monkeypatch, named):
    path = write(tmp_path / "made.pth", {"model": numbers(vit(**WIDE))})
    arguments = {"img_size": 40, "patch_size": 8, "depth": 1, "mlp_ratio": 96 / 768}
    monkeypatch.setenv("MIMPROBE_CARDS", str(tmp_path))
    write_card(
        tmp_path, "made", file="made.pth", architecture="vit_base_patch16_224", heads=12, prefix=1,
        converter="mae", side=40, arguments=arguments | {"num_classes": 0},
    )  # fmt: skip
    more = {"card": "made"}
    if named == "arch":
        more = {"arch": "vit_base_patch16_224", "arch_args": arguments}
    with pytest.raises(CheckpointError, match=r"1 of another shape: pos_embed \(1, 10, 768\)"):
        load(path, **more)


def far_apart(table, side):
    """A table of relative positions on a grid of another side, written from its description.

    The old differences are laid out at distances that grow geometrically, so that the largest one
    comes to lie on the new largest; in between, values are interpolated linearly.
    """
    reach, wanted = round(len(table) ** 0.5) // 2, side - 1
    ratios = np.linspace(1.01, 1.5, 200_001)
    lengths = sum(ratios**power for power in range(reach))
    ratio = ratios[min(np.searchsorted(lengths, wanted), len(ratios) - 1)]
    steps = np.cumsum(ratio ** np.arange(reach))
    old = np.concatenate([-steps[::-1], [0], steps])
    new = np.arange(-wanted, wanted + 1)
    grids = table.double().numpy().T.reshape(-1, len(old), len(old))
    rows = np.stack([[np.interp(new, old, row) for row in grid] for grid in grids])
    both = np.stack([[np.interp(new, old, column) for column in grid.T] for grid in rows])
    return torch.from_numpy(both.transpose(0, 2, 1).reshape(len(grids), -1).T)


def test_resized_tables_follow_their_description(tmp_path):
    """timm's function against another one: equality with itself would not show a fault in it."""
    state = numbers(beit(width=24, depth=1, heads=3, grid=5, patch=4, hidden=40))
    loaded = load(write(tmp_path / "w.pth", {"model": state}), input_size=32)
    name = "rel_pos_bias.relative_position_bias_table"
    found = loaded.module.state_dict()[name]
    assert torch.equal(found[-3:], state[name][-3:])
    expected = far_apart(state[name][:-3], 8)
    torch.testing.assert_close(found[:-3].double(), expected, rtol=1e-3, atol=1e-3)


def test_a_resized_load_is_quiet(tmp_path):
    """What a library inside warns of is not for the user of mimprobe to act on."""
    state = numbers(beit(width=24, depth=1, heads=3, grid=5, patch=4, hidden=40))
    path = write(tmp_path / "w.pth", {"model": {**state, "lm_head.bias": torch.ones(3)}})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        load_model(path, input_size=32, device="cpu")
    assert [str(one.message) for one in told] == []


def test_a_resnet_takes_any_size_as_it_is():
    loaded = load("random:resnet18", input_size=96)
    assert loaded.preprocessing.input_size == (96, 96)
