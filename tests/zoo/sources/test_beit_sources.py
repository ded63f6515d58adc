"""SimMIM's ViT and BEiT: relative positions, q and v biases apart, layer scale."""

import pytest
import torch
from zoo.sources import plain_vit
from zoo.sources.made_files import (
    HALVES,
    adam,
    assert_same_output,
    assert_same_tokens,
    images,
    inside,
    load,
    numbers,
    write,
    write_card,
    write_microsoft,
)
from zoo.sources.vit_formats import beit, linear, simmim

SIZES = {"width": 24, "depth": 3, "heads": 12, "grid": 14, "patch": 2, "hidden": 40}
"""The real grid and number of heads, so that the tables are 732 x 12; narrow, with small patches."""

SIDE = SIZES["grid"] * SIZES["patch"]
ARGUMENTS = {
    "img_size": SIDE, "patch_size": 2, "embed_dim": 24, "depth": 3, "num_heads": 12,
    "mlp_ratio": 40 / 24, "num_classes": 0, "global_pool": "", "use_abs_pos_emb": False,
    "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "init_values": 0.1,
}  # fmt: skip


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """A folder of cards that is also the cache."""
    monkeypatch.setenv("MIMPROBE_CARDS", str(tmp_path))
    monkeypatch.setenv("MIMPROBE_CACHE", str(tmp_path))
    return tmp_path


def card(folder, *, converter, arguments=None, **changes):
    write_card(
        folder, "small", file="small.pth", architecture="beit_base_patch16_224", heads=12,
        prefix=1, converter=converter, side=SIDE, arguments=ARGUMENTS | (arguments or {}),
        **changes,
    )  # fmt: skip


def pre_trained():
    encoder = beit(**SIZES, mask_token=True)
    return numbers(simmim(encoder, features=SIZES["width"], stride=SIZES["patch"]))


@pytest.mark.parametrize("how", ["path", "old format", "card", "cache"])
def test_simmim_vit(cards, how):
    state = pre_trained()
    path = write_microsoft(cards / "small.pth", state, old_format=how == "old format")
    card(cards, converter="simmim")
    named = {"card": "small"} if how == "card" else {}
    loaded = load("small" if how == "cache" else path, **named)
    plain = inside(state, "encoder.")
    assert plain["rel_pos_bias.relative_position_bias_table"].shape == (732, 12)
    assert_same_tokens(loaded, images(SIDE), plain_vit.vit(plain, images(SIDE), heads=12))
    assert loaded.kind == "mim"
    dropped = loaded.load_report.dropped
    assert "mask token" in dropped.pop("encoder.mask_token")
    assert dropped.pop("encoder.rel_pos_bias.relative_position_index") == (
        "computed anew from the sizes"
    )
    assert set(dropped) == {"decoder.0.weight", "decoder.0.bias"}


@pytest.mark.parametrize("how", ["path", "card", "cache"])
def test_simmim_vit_fine_tuned(cards, how):
    shapes = beit(**SIZES, shared=False, final="fc_norm", top=linear("head", SIZES["width"], 10))
    state = numbers(shapes)
    path = write_microsoft(cards / "small.pth", state)
    own = {"use_rel_pos_bias": True, "use_shared_rel_pos_bias": False}
    card(cards, converter="beit", arguments=own | {"num_classes": 10, "global_pool": "avg"})
    named = {"card": "small"} if how == "card" else {}
    loaded = load("small" if how == "cache" else path, **named)
    plain = inside(state, "")
    tokens = plain_vit.vit(plain, images(SIDE), heads=12, final=None)
    assert_same_tokens(loaded, images(SIDE), tokens)
    assert_same_output(loaded, images(SIDE), plain_vit.mean_pooled(tokens, plain))


@pytest.mark.parametrize("how", ["path", "card", "cache"])
def test_beit(cards, how):
    top = linear("lm_head", SIZES["width"], 8192)
    state = numbers(beit(**SIZES, mask_token=True, top=top))
    path = write(cards / "small.pth", {"model": state, "optimizer": adam(state)})
    card(cards, converter="beit", scale=HALVES)
    named = {"card": "small"} if how == "card" else {}
    loaded = load("small" if how == "cache" else path, **named)
    expected = plain_vit.vit(inside(state, ""), images(SIDE), heads=12)
    assert_same_tokens(loaded, images(SIDE), expected)
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == HALVES
    assert {"mask_token", "lm_head.weight", "lm_head.bias"} < set(loaded.load_report.dropped)


@pytest.mark.parametrize(
    "change",
    [
        "class row", "class column", "class to itself", "q bias", "v bias", "layer scale 1",
        "layer scale 2", "transposed table", "k bias",
    ],
)  # fmt: skip
def test_the_comparison_sees_every_part_of_the_position_bias_and_the_biases(change, tmp_path):
    """Guards the tests above: had the loader any of these wrong, they would fail."""
    state = pre_trained()
    plain = inside(state, "encoder.")
    table = plain["rel_pos_bias.relative_position_bias_table"]
    right = plain_vit.vit(plain, images(SIDE), heads=12)
    special = {"class row": -3, "class column": -2, "class to itself": -1}
    if change in special:
        table[special[change]] += 1
    elif change == "transposed table":
        table[:-3] = table[:-3].unflatten(0, (27, 27)).transpose(0, 1).flatten(0, 1).clone()
    elif change == "k bias":
        name = "blocks.0.attn"
        joint = [plain[f"{name}.q_bias"], plain[f"{name}.v_bias"], plain.pop(f"{name}.v_bias")]
        plain[f"{name}.qkv.bias"] = torch.cat(joint)
        del plain[f"{name}.q_bias"]
        plain[f"{name}.qkv.bias"][:24] *= 1
        plain["blocks.0.gamma_1"] = plain["blocks.0.gamma_1"] * 1
        wrong = plain_vit.vit(plain, images(SIDE), heads=12)
        # A bias of k shifts all logits of a query alike: only the positions could tell, so no one.
        torch.testing.assert_close(wrong, right)
        return
    else:
        parts = {"q bias": "attn.q_bias", "v bias": "attn.v_bias",
                 "layer scale 1": "gamma_1", "layer scale 2": "gamma_2"}  # fmt: skip
        plain[f"blocks.1.{parts[change]}"] += 0.1
    wrong = plain_vit.vit(plain, images(SIDE), heads=12)
    assert (wrong - right).abs().max() > 1e-3
