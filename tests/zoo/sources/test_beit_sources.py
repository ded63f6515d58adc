"""SimMIM's ViT and BEiT: relative positions, q and v biases apart, layer scale."""

import pytest
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
"""The real grid and number of heads, so that the tables are 732 x 12; all else is small."""

SIDE = SIZES["grid"] * SIZES["patch"]
ARGUMENTS = {
    "img_size": SIDE, "patch_size": 2, "embed_dim": 24, "depth": 3, "num_heads": 12,
    "mlp_ratio": 40 / 24, "num_classes": 0, "global_pool": "", "use_abs_pos_emb": False,
    "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "init_values": 0.1,
}  # fmt: skip


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


PARTS = {
    "q bias": "blocks.1.attn.q_bias",
    "v bias": "blocks.1.attn.v_bias",
    "first layer scale": "blocks.1.gamma_1",
    "second layer scale": "blocks.1.gamma_2",
}
ENTRIES = {"from the class": -3, "to the class": -2, "from the class to itself": -1}


@pytest.mark.parametrize("change", [*PARTS, *ENTRIES, "rows for columns"])
def test_the_comparison_sees(change):
    """Guards the tests above: had the loader any of these wrong, they would fail."""
    plain = inside(pre_trained(), "encoder.")
    right = plain_vit.vit(plain, images(SIDE, 1), heads=12)
    table = plain["rel_pos_bias.relative_position_bias_table"]
    if change in ENTRIES:
        table[ENTRIES[change]] += 1
    elif change in PARTS:
        plain[PARTS[change]] += 0.1
    else:
        table[:-3] = table[:-3].unflatten(0, (27, 27)).transpose(0, 1).flatten(0, 1).clone()
    wrong = plain_vit.vit(plain, images(SIDE, 1), heads=12)
    assert (wrong - right).abs().max() > 1e-3
