"""MAE, MoCo v3, DeiT and DINO: files of their formats give the numbers of a plain ViT."""

import argparse

import pytest
import torch
from zoo.sources import plain_vit
from zoo.sources.made_files import (
    adam,
    assert_same_output,
    assert_same_tokens,
    images,
    inside,
    load,
    numbers,
    write,
    write_card,
    write_facebook,
)
from zoo.sources.vit_formats import dino_head, linear, mae_decoder, moco_v3, under, vit

from mimprobe.errors import CheckpointError

GRID, PATCH = 3, 8
SIDE = GRID * PATCH
WIDE = {"width": 768, "depth": 1, "grid": GRID, "patch": PATCH, "hidden": 96}
"""ViT-B's width and so its 12 heads, which no shape tells; all else as small as may be."""

SMALL = {"width": 48, "depth": 3, "grid": GRID, "patch": PATCH}
SMALL_ARGUMENTS = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 48, "depth": 3}


def small_card(folder, name, *, heads, converter, **changes):
    """A card for a file of the `SMALL` size."""
    arguments = SMALL_ARGUMENTS | {"num_heads": heads, "num_classes": 0}
    arguments |= changes.pop("arguments", {})
    write_card(
        folder, name, file=f"{name}.pth", heads=heads, converter=converter, side=SIDE,
        arguments=arguments,
        **{"architecture": "vit_base_patch16_224", "prefix": 1} | changes,
    )  # fmt: skip


def test_the_comparison_sees_another_epsilon_or_number_of_heads():
    """Guards the tests below: with timm's usual 1e-5 for 1e-6, they would fail."""
    state = inside(numbers(vit(**SMALL)), "")
    right = plain_vit.vit(state, images(SIDE), heads=6)
    for wrong in ({"heads": 6, "eps": 1e-5}, {"heads": 12}):
        assert (plain_vit.vit(state, images(SIDE), **wrong) - right).abs().max() > 1e-4


DECODER = {"encoder": 768, "width": 32, "depth": 1, "grid": GRID, "patch": PATCH}


@pytest.mark.parametrize("kind", ["encoder", "full", "visualize"])
def test_mae_by_path(tmp_path, kind):
    decoder = {} if kind == "encoder" else mae_decoder(**DECODER)
    state = numbers(vit(**WIDE) | decoder)
    if kind == "full":
        path = write_facebook(tmp_path / "mae.pth", state)
    else:
        path = write(tmp_path / "mae.pth", {"model": state})
    loaded = load(path)
    expected = plain_vit.vit(inside(state, ""), images(SIDE), heads=12)
    assert_same_tokens(loaded, images(SIDE), expected)
    assert set(loaded.load_report.dropped) == set(decoder)
    assert loaded.kind == ("other" if kind == "encoder" else "mim")


@pytest.mark.parametrize("decoder", [True, False])
def test_mae_by_card_from_the_cache(cards, decoder):
    more = mae_decoder(encoder=48, width=32, depth=2, grid=GRID, patch=PATCH) if decoder else {}
    state = numbers(vit(**SMALL) | more)
    write_facebook(cards / "mae.pth", state)
    small_card(cards, "mae", heads=3, converter="mae")
    loaded = load("mae")
    expected = plain_vit.vit(inside(state, ""), images(SIDE), heads=3)
    assert_same_tokens(loaded, images(SIDE), expected)
    assert (loaded.kind, loaded.load_report.converter) == ("mim", "mae")
    assert not loaded.load_report.missing


def fine_tuned(**sizes):
    return vit(**sizes, final="fc_norm", heads=linear("head", sizes["width"], 10))


def fine_tuned_output(state, heads):
    tokens = plain_vit.vit(state, images(SIDE), heads=heads, final=None)
    return tokens, plain_vit.mean_pooled(tokens, state)


def test_mae_fine_tuned_by_path(tmp_path):
    state = numbers(fine_tuned(**WIDE))
    loaded = load(write_facebook(tmp_path / "tuned.pth", state))
    tokens, output = fine_tuned_output(inside(state, ""), 12)
    assert_same_tokens(loaded, images(SIDE), tokens)
    assert_same_output(loaded, images(SIDE), output)


def test_mae_fine_tuned_by_card(cards):
    state = numbers(fine_tuned(**SMALL))
    write(cards / "tuned.pth", {"model": state})
    small_card(
        cards, "tuned", heads=3, converter="mae",
        arguments={"num_classes": 10, "global_pool": "avg"},
    )  # fmt: skip
    loaded = load("tuned")
    tokens, output = fine_tuned_output(inside(state, ""), 3)
    assert_same_tokens(loaded, images(SIDE), tokens)
    assert_same_output(loaded, images(SIDE), output)


def moco_positions(width, grid):
    """MoCo v3's sine-cosine positions: of the first and then of the second grid index."""
    rate = 10000 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(grid)[:, None] * rate
    first = angles[:, None].expand(grid, grid, -1).flatten(0, 1)
    second = angles[None].expand(grid, grid, -1).flatten(0, 1)
    table = torch.cat([first.sin(), first.cos(), second.sin(), second.cos()], -1)
    return torch.cat([torch.zeros(1, width), table])[None]


def write_moco_v3(path, state, arch):
    content = {
        "epoch": 300, "arch": arch, "state_dict": state, "optimizer": adam(state),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }  # fmt: skip
    return write(path, content)


@pytest.mark.parametrize(("width", "arch"), [(384, "vit_small"), (768, "vit_base")])
def test_moco_v3_by_path_has_12_heads_and_its_stored_positions(tmp_path, width, arch):
    encoder = vit(width=width, depth=1, grid=GRID, patch=PATCH, hidden=96)
    state = numbers(moco_v3(encoder, head="head", layers=3, features=width, mlp=16))
    stored = moco_positions(width, GRID)
    state["module.base_encoder.pos_embed"] = stored
    loaded = load(write_moco_v3(tmp_path / "vit.pth.tar", state, arch))
    plain = inside(state, "module.base_encoder.")
    assert_same_tokens(loaded, images(SIDE), plain_vit.vit(plain, images(SIDE), heads=12))
    assert torch.equal(loaded.module.pos_embed.float(), stored)
    assert loaded.kind == "contrastive"
    dropped = set(loaded.load_report.dropped)
    assert dropped == {name for name in state if not name.startswith("module.base_encoder.")} | {
        name for name in state if name.startswith("module.base_encoder.head.")
    }


def test_moco_v3_by_card(cards):
    state = numbers(moco_v3(vit(**SMALL), head="head", layers=3, features=48, mlp=16))
    path = write_moco_v3(cards / "moco.pth", state, "vit_small")
    small_card(
        cards, "moco", heads=12, converter="moco_v3", top_key="state_dict", kind="contrastive"
    )
    plain = inside(state, "module.base_encoder.")
    expected = plain_vit.vit(plain, images(SIDE), heads=12)
    for reference, named in (("moco", {}), (path, {"card": "moco"})):
        assert_same_tokens(load(reference, **named), images(SIDE), expected)


def linear_probe(width):
    encoder = vit(
        width=width, depth=1, grid=GRID, patch=PATCH, hidden=96, heads=linear("head", width, 10)
    )
    return numbers(under("module.", encoder))


def test_moco_v3_linear_probe_by_path(tmp_path):
    state = linear_probe(768)
    content = {"epoch": 90, "arch": "vit_base", "best_acc1": torch.tensor(76.7),
               "state_dict": state, "optimizer": adam(state)}  # fmt: skip
    loaded = load(write(tmp_path / "linear.pth.tar", content))
    plain = inside(state, "module.")
    tokens = plain_vit.vit(plain, images(SIDE), heads=12)
    assert_same_tokens(loaded, images(SIDE), tokens)
    assert_same_output(loaded, images(SIDE), plain_vit.affine(tokens[:, 0], plain, "head"))


def test_moco_v3_linear_probe_of_vit_small_asks_for_the_heads(tmp_path):
    state = linear_probe(384)
    path = write(tmp_path / "linear.pth.tar", {"state_dict": state, "arch": "vit_small"})
    with pytest.raises(CheckpointError, match=r'"num_heads": 6.* or .*"num_heads": 12'):
        load(path)
    plain = inside(state, "module.")
    for heads in (6, 12):
        loaded = load(path, arch_args={"num_heads": heads})
        expected = plain_vit.vit(plain, images(SIDE), heads=heads)
        assert_same_tokens(loaded, images(SIDE), expected)


DEIT = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}


@pytest.mark.parametrize("size", DEIT)
def test_deit(tmp_path, size):
    width, heads = DEIT[size]
    shapes = vit(width=width, depth=1, grid=GRID, patch=PATCH, hidden=96,
                 heads=linear("head", width, 10))  # fmt: skip
    state = numbers(shapes)
    path = write(tmp_path / "deit.pth", {"model": state}, old_format=True)
    loaded = load(path, arch_args={"num_heads": 6} if size == "small" else None)
    tokens = plain_vit.vit(inside(state, ""), images(SIDE), heads=heads)
    assert_same_tokens(loaded, images(SIDE), tokens)
    output = plain_vit.affine(tokens[:, 0], inside(state, ""), "head")
    assert_same_output(loaded, images(SIDE), output)


def distilled(**sizes):
    heads = linear("head", sizes["width"], 10) | linear("head_dist", sizes["width"], 10)
    return vit(**sizes, prefix=("cls_token", "dist_token"), heads=heads)


@pytest.mark.parametrize("by_card", [True, False])
def test_deit_distilled_has_two_prefix_tokens(cards, by_card):
    state = numbers(distilled(**(SMALL if by_card else WIDE)))
    path = write(cards / "distilled.pth", {"model": state}, old_format=True)
    small_card(
        cards, "distilled", heads=3, converter="as_is", kind="distilled",
        architecture="deit_base_distilled_patch16_224", prefix=2, arguments={"num_classes": 10},
    )  # fmt: skip
    loaded = load("distilled") if by_card else load(path)
    plain = inside(state, "")
    tokens = plain_vit.vit(
        plain, images(SIDE), heads=3 if by_card else 12, prefix=("cls_token", "dist_token")
    )
    assert_same_tokens(loaded, images(SIDE), tokens)
    both = [
        plain_vit.affine(tokens[:, place], plain, name)
        for place, name in enumerate(("head", "head_dist"))
    ]
    assert_same_output(loaded, images(SIDE), (both[0] + both[1]) / 2)


@pytest.mark.parametrize("by_card", [True, False])
def test_dino_flat(cards, by_card):
    state = numbers(vit(**(SMALL if by_card else WIDE)))
    path = write(cards / "dino.pth", state, old_format=True)
    small_card(cards, "dino", heads=6, converter="dino", top_key=None, kind="contrastive")
    loaded = load("dino") if by_card else load(path)
    expected = plain_vit.vit(inside(state, ""), images(SIDE), heads=6 if by_card else 12)
    assert_same_tokens(loaded, images(SIDE), expected)
    assert loaded.load_report.checked.startswith("content not verifiable")


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
@pytest.mark.parametrize(("width", "heads"), [(384, 6), (768, 12)])
def test_dino_full_checkpoint_gives_the_teacher(tmp_path, prefix, width, heads):
    backbone = vit(width=width, depth=1, grid=GRID, patch=PATCH, hidden=96)
    head = dino_head(width, hidden=8, prototypes=16)
    start = prefix.removesuffix("backbone.")
    teacher = numbers(under(prefix, backbone) | under(f"{start}head.", head), seed=1)
    student = under("module.backbone.", backbone) | under("module.head.", head)
    content = {
        "student": numbers(student, seed=2), "teacher": teacher, "optimizer": adam(teacher),
        "epoch": 400, "args": argparse.Namespace(arch="vit_small", lr=5e-4, seed=0),
        "dino_loss": {"center": torch.zeros(1, 16)}, "fp16_scaler": {"scale": 1024.0},
    }  # fmt: skip
    loaded = load(write(tmp_path / "full.pth", content))
    expected = plain_vit.vit(inside(teacher, prefix), images(SIDE), heads=heads)
    assert_same_tokens(loaded, images(SIDE), expected)
    assert loaded.kind == "contrastive"
    assert all(name.startswith(f"{start}head.") for name in loaded.load_report.dropped)
