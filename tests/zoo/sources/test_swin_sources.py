"""Swin and SwinV2 of every source: windows, shifts, down-sampling where the original has it."""

import pytest
import torch
from zoo.sources import plain_swin
from zoo.sources.made_files import (
    assert_same_output,
    assert_same_tokens,
    images,
    inside,
    load,
    numbers,
    pretended,
    write,
    write_card,
    write_microsoft,
)
from zoo.sources.swin_formats import Sizes, mmpretrain_swin, swin, swinv2
from zoo.sources.vit_formats import simmim

from mimprobe.errors import CheckpointError

EVEN = Sizes(width=8, heads=(1, 2, 4), window=3, side=48, depths=(2, 3, 2), hidden=2)
"""As SimMIM's Swin-B at 192 px with window 6: the last map is exactly one window."""

SHRINKING = Sizes(width=8, heads=(1, 2, 4, 8), window=4, side=64, hidden=2)
"""As SimMIM's Swin-L at 192 px with window 12: the last map is half a window."""

SIZES = {"even": EVEN, "shrinking": SHRINKING}


def card(folder, sizes, *, converter, classes=0, version="swin_base_patch4_window7_224", **more):
    arguments = {
        "img_size": sizes.side, "window_size": sizes.window, "embed_dim": sizes.width,
        "depths": sizes.depths, "num_heads": sizes.heads, "mlp_ratio": float(sizes.hidden),
        "num_classes": classes,
    }  # fmt: skip
    write_card(
        folder, "small", file="small.pth", architecture=version, heads=sizes.heads, prefix=0,
        converter=converter, side=sizes.side, arguments=arguments, **more,
    )  # fmt: skip


def loaded_by(how, path):
    return load("small") if how == "cache" else load(path)


def stride(sizes):
    return sizes.patch * 2 ** (len(sizes.heads) - 1)


STORED = ("attn_mask", "relative_coords_table", "relative_position_index")

WAYS = pytest.mark.parametrize(
    ("size", "how"), [("even", "path"), ("shrinking", "path"), ("shrinking", "cache")]
)


@WAYS
def test_simmim_swin(cards, size, how):
    sizes = SIZES[size]
    state = numbers(
        simmim(swin(sizes, mask_token=True), features=8 * stride(sizes) // 4, stride=stride(sizes))
    )
    path = write_microsoft(cards / "small.pth", state)
    card(cards, sizes, converter="simmim")
    loaded = loaded_by(how, path)
    plain = inside(state, "encoder.")
    expected = plain_swin.swin(plain, images(sizes.side), heads=sizes.heads, window=sizes.window)
    assert_same_tokens(loaded, images(sizes.side), expected)
    assert loaded.kind == "mim"
    assert loaded.preprocessing.input_size == (sizes.side, sizes.side)
    renamed = loaded.load_report.renamed
    assert renamed["encoder.layers.0.downsample.norm.bias"] == "layers.1.downsample.norm.bias"


@WAYS
def test_swin_with_a_classifier_supervised_or_simmim_fine_tuned(cards, size, how):
    sizes = SIZES[size]
    state = numbers(swin(sizes, classes=10))
    path = write_microsoft(cards / "small.pth", state, old_format=how == "path")
    card(cards, sizes, converter="swin", classes=10, kind="supervised")
    loaded = loaded_by(how, path)
    plain, x = inside(state, ""), images(sizes.side)
    tokens = plain_swin.swin(plain, x, heads=sizes.heads, window=sizes.window)
    assert_same_tokens(loaded, x, tokens)
    assert_same_output(loaded, x, plain_swin.classified(tokens, plain))


@WAYS
def test_simmim_swinv2(cards, size, how):
    sizes = SIZES[size]
    encoder = swinv2(sizes, mask_token=True, positions="rpe_mlp")
    state = numbers(simmim(encoder, features=8 * stride(sizes) // 4, stride=stride(sizes)))
    path = write_microsoft(cards / "small.pth", state)
    card(cards, sizes, converter="simmim", version="swinv2_base_window12_192")
    loaded = loaded_by(how, path)
    plain, x = inside(state, "encoder."), images(sizes.side)
    expected = plain_swin.swinv2(plain, x, heads=sizes.heads, window=sizes.window)
    assert_same_tokens(loaded, x, expected)
    renamed = loaded.load_report.renamed
    name = "layers.0.blocks.0.attn.rpe_mlp.0.weight"
    assert renamed[f"encoder.{name}"] == name.replace("rpe_mlp", "cpb_mlp")


@WAYS
def test_swinv2_supervised(cards, size, how):
    sizes = SIZES[size]
    state = numbers(swinv2(sizes, classes=10))
    path = write_microsoft(cards / "small.pth", state)
    card(cards, sizes, converter="swin", classes=10, version="swinv2_base_window8_256")
    loaded = loaded_by(how, path)
    plain, x = inside(state, ""), images(sizes.side)
    tokens = plain_swin.swinv2(plain, x, heads=sizes.heads, window=sizes.window)
    assert_same_tokens(loaded, x, tokens)
    assert_same_output(loaded, x, plain_swin.classified(tokens, plain))


@pytest.mark.parametrize("what", ["mask", "limit", "epsilon", "order"])
def test_the_comparison_sees(what, monkeypatch):
    """Guards the tests above: without one of these, they would fail."""
    state, x = numbers(swinv2(SHRINKING) if what == "limit" else swin(SHRINKING)), images(64, 1)
    plain = plain_swin.swinv2 if what == "limit" else plain_swin.swin
    sizes = {"heads": SHRINKING.heads, "window": SHRINKING.window}
    right = plain(inside(state, ""), x, **sizes)
    if what == "mask":
        monkeypatch.setattr(plain_swin, "FAR", 0.0)
    elif what == "limit":
        scales = {name: tensor for name, tensor in state.items() if name.endswith("logit_scale")}
        assert any((tensor > 4.61).any() for tensor in scales.values())
        state |= {name: tensor + (tensor > 4.61) for name, tensor in scales.items()}
        torch.testing.assert_close(plain(inside(state, ""), x, **sizes), right)
        monkeypatch.setattr(plain_swin.math, "log", lambda _: 99.0)
    elif what == "epsilon":
        monkeypatch.setattr(plain_swin, "EPS", 1e-6)
    else:
        sizes["merge"] = lambda y: plain_swin.merged_by_columns(y.transpose(1, 2)).transpose(1, 2)
    wrong = plain(inside(state, ""), x, **sizes)
    assert (wrong - right).abs().max() > 1e-4


def test_swinv2_without_its_stored_tables_asks_for_the_window(cards):
    full = numbers(swinv2(EVEN, classes=10))
    state = {name: tensor for name, tensor in full.items() if not name.endswith(STORED)}
    path = write(cards / "small.pth", {"model": state})
    with pytest.raises(CheckpointError, match='"window_size": 8.* or .*"window_size": 16'):
        load(path)
    card(cards, EVEN, converter="swin", classes=10, version="swinv2_base_window8_256")
    expected = plain_swin.swinv2(
        inside(full, ""), images(EVEN.side), heads=EVEN.heads, window=EVEN.window
    )
    assert_same_tokens(load(path, card="small"), images(EVEN.side), expected)


def test_swinv2_without_its_stored_tables_takes_the_window_that_the_user_knows(cards):
    full = numbers(swinv2(EVEN, classes=10))
    state = {name: tensor for name, tensor in full.items() if not name.endswith(STORED)}
    path = write(cards / "small.pth", {"model": state})
    loaded = load(path, arch_args={"img_size": EVEN.side, "window_size": EVEN.window})
    expected = plain_swin.swinv2(
        inside(full, ""), images(EVEN.side), heads=EVEN.heads, window=EVEN.window
    )
    assert_same_tokens(loaded, images(EVEN.side), expected)


def mmpretrain_in_original_names(state):
    """mmpretrain's names in the original's, for the plain implementation."""
    renamed = {
        "patch_embed.projection": "patch_embed.proj", ".attn.w_msa.": ".attn.",
        ".ffn.layers.0.0.": ".mlp.fc1.", ".ffn.layers.1.": ".mlp.fc2.", "stages.": "layers.",
    }  # fmt: skip
    plain = {}
    for name, tensor in inside(state, "backbone.").items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        last = name.startswith("norm")  # named for its stage
        plain[f"norm.{name.rpartition('.')[2]}" if last else name] = tensor
    return plain


@WAYS
def test_mmpretrain_swin_with_unfolds_order(cards, size, how):
    sizes = SIZES[size]
    state = numbers(mmpretrain_swin(sizes))
    with pretended("mmengine.config.config", "ConfigDict", dict) as config:
        content = {
            "meta": {"epoch": 100, "cfg": "model = dict()", "config": config(seed=0)},
            "state_dict": state,
        }
        path = write(cards / "small.pth", content)
    card(cards, sizes, converter="mmpretrain_swin", top_key="state_dict")
    loaded = loaded_by(how, path)
    x = images(sizes.side)
    plain = mmpretrain_in_original_names(state)
    expected, other = (
        plain_swin.swin(plain, x, heads=sizes.heads, window=sizes.window, merge=merge)
        for merge in (plain_swin.merged_by_unfold, plain_swin.merged_by_columns)
    )
    assert (expected - other).abs().max() > 0.1
    assert_same_tokens(loaded, x, expected)
    assert loaded.kind == "mim"


@pytest.mark.parametrize("version", [1, 2])
def test_swin_in_timms_own_names(tmp_path, version):
    """A stage of timm's begins with its down-sampling: nothing moves."""
    state = numbers((swin if version == 1 else swinv2)(SHRINKING, classes=10))

    def timms(name):
        if name.startswith("head."):
            return name.replace("head.", "head.fc.", 1)
        stage = int(name[7]) if ".downsample." in name else -1
        return name.replace(f"layers.{stage}.", f"layers.{stage + 1}.", 1)

    renamed = {timms(name): tensor for name, tensor in state.items()}
    loaded = load(write(tmp_path / "w.pth", renamed))
    plain = plain_swin.swin if version == 1 else plain_swin.swinv2
    expected = plain(
        inside(state, ""), images(SHRINKING.side), heads=SHRINKING.heads, window=SHRINKING.window
    )
    assert_same_tokens(loaded, images(SHRINKING.side), expected)
    assert loaded.load_report.renamed == {}
