"""Rows of attention as arrays over the image, against captured maps and index loops."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import mimprobe
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import NonFiniteError, OptionError, SiteError, UnknownNameError
from mimprobe.hooks import capture

PREPARE = {
    size: Preprocessing(size, (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0, "squash").transform()
    for size in ((32, 48), (64, 72), (32, 32))
}


@pytest.fixture(scope="module")
def picture():
    draw = np.random.default_rng(0)
    return Image.fromarray(draw.integers(0, 256, (50, 60, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def vit():
    """A grid of 4 x 6 patches behind a class token and four registers."""
    torch.manual_seed(0)
    return sharp(
        timm.create_model(
            "vit_small_patch14_reg4_dinov2", img_size=(32, 48), patch_size=8, depth=3,
            embed_dim=24, num_heads=3,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def swin():
    """Maps of 16 x 18 and 8 x 9 patches, which windows of 7 do not divide."""
    torch.manual_seed(0)
    return sharp(
        timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=(64, 72), depths=(2, 2), embed_dim=8,
            num_heads=(2, 4), window_size=7,
        )
    )  # fmt: skip


def sharp(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def seen_by(model, picture, size, sites):
    with torch.inference_mode(), capture(model, sites) as seen:
        model(PREPARE[size](picture)[None])
    return {site: seen[site].attention.double().numpy() for site in sites}


def overlay(model, picture, size=(32, 48), **arguments):
    return mimprobe.attention_overlay(
        model, picture, transform=PREPARE[size], device="cpu", **arguments
    )


def test_rows_are_those_of_the_captured_map(vit, picture):
    shown = overlay(vit, picture, layers=[2, 0], heads=[1, 2], queries=["cls", (3, 5), "centre"])
    expected = seen_by(vit, picture, (32, 48), ["blocks.2.attn.probs", "blocks.0.attn.probs"])
    assert [(heat.query, heat.layer, heat.head) for heat in shown.maps] == [
        (query, layer, head)
        for query in ("cls", (3, 5), (2, 3)) for layer in (2, 0) for head in (1, 2)
    ]  # fmt: skip
    rows = {"cls": 0, (3, 5): 5 + 3 * 6 + 5, (2, 3): 5 + 2 * 6 + 3}
    for heat in shown.maps:
        row = expected[f"blocks.{heat.layer}.attn.probs"][0, heat.head, rows[heat.query]]
        np.testing.assert_allclose(heat.mass, row[5:].reshape(4, 6), rtol=1e-6)
        assert heat.elsewhere == pytest.approx(row[:5].sum(), abs=1e-6)
        assert heat.stride == (8, 8)
        assert heat.patch == (None if heat.query == "cls" else heat.query)


def test_defaults_are_three_layers_all_heads_and_the_centre(vit, picture):
    maps = overlay(vit, picture).maps
    assert [(heat.layer, heat.head) for heat in maps] == [
        (layer, head) for layer in range(3) for head in range(3)
    ]
    assert {heat.query for heat in maps} == {(2, 3)}


def test_the_picture_is_what_the_network_saw(vit, picture):
    expected = PREPARE[32, 48](picture).numpy().transpose(1, 2, 0)
    shown = overlay(vit, picture).picture  # the user's own transform: scaled to its range
    span = expected.max() - expected.min()
    np.testing.assert_allclose(shown, (expected - expected.min()) / span, atol=1e-6)
    loaded = mimprobe.load_model("random:test_vit", device="cpu")
    pixels = loaded.transform(picture).numpy().transpose(1, 2, 0)
    usual = loaded.preprocessing
    shown = mimprobe.attention_overlay(loaded, picture, device="cpu").picture
    np.testing.assert_allclose(shown, pixels * usual.std + np.array(usual.mean), atol=1e-6)
    assert shown.dtype == np.float32


def window_by_loops(size, shift, patch):
    """Find a patch's window by rolling a map of places, as Swin rolls its features."""
    padded = [-(-side // 7) * 7 for side in size]
    rolled = {
        (r, c): ((r + shift[0]) % size[0], (c + shift[1]) % size[1])
        if r < size[0] and c < size[1] else None
        for r in range(padded[0]) for c in range(padded[1])
    }  # fmt: skip
    for number, (top, left) in enumerate(
        (top, left) for top in range(0, padded[0], 7) for left in range(0, padded[1], 7)
    ):
        places = [rolled[top + r, left + c] for r in range(7) for c in range(7)]
        if patch in places:
            return number, places
    raise AssertionError(patch)


@pytest.mark.parametrize("query", [(0, 0), (15, 17), (7, 9), (2, 16), (14, 1)])
@pytest.mark.parametrize(
    ("layer", "size", "shift", "scale"),
    [(0, (16, 18), (0, 0), 1), (1, (16, 18), (3, 3), 1), (3, (8, 9), (3, 3), 2)],
)
def test_a_window_lies_at_its_true_place(swin, picture, layer, size, shift, scale, query):
    site = f"stages.{layer // 2}.blocks.{layer % 2}.attn.probs"
    maps = seen_by(swin, picture, (64, 72), [site])[site]
    patch = query[0] // scale, query[1] // scale
    window, places = window_by_loops(size, shift, patch)
    row = maps[window, 1, places.index(patch)]
    (heat,) = overlay(swin, picture, (64, 72), layers=[layer], heads=[1], queries=[query]).maps
    assert heat.patch == patch
    assert heat.mass.shape == size
    assert heat.stride == (4 * scale, 4 * scale)
    told = {place: value for place, value in zip(places, row, strict=True) if place}
    shown = dict(np.ndenumerate(heat.mass))
    for place, value in shown.items():
        if np.isfinite(value):
            assert value == pytest.approx(told[place], rel=1e-6)
        else:  # outside the window, or hidden by the mask of a shifted window
            assert told.get(place, 0) < 1e-6
    assert np.isfinite(heat.mass[patch])
    assert heat.elsewhere == pytest.approx(1 - np.nansum(heat.mass), abs=1e-6)


def test_rollout_is_the_product_of_the_captured_maps(vit, picture):
    sites = [f"blocks.{layer}.attn.probs" for layer in range(3)]
    captured = seen_by(vit, picture, (32, 48), sites)
    for fusion in ("mean", "max", "min"):
        shown = mimprobe.rollout_overlay(
            vit, picture, transform=PREPARE[32, 48], device="cpu", fusion=fusion, layers=[0, 2],
            queries=["cls", "mean", (1, 4)],
        )  # fmt: skip
        product, after = np.eye(29), []
        for site in sites:
            mixed = (getattr(np, fusion)(captured[site][0], axis=0) + np.eye(29)) / 2
            product = mixed / mixed.sum(1, keepdims=True) @ product
            after.append(product)
        assert [(heat.query, heat.layer) for heat in shown.maps] == [
            (query, layer) for query in ("cls", "mean", (1, 4)) for layer in (0, 2)
        ]
        for heat in shown.maps:
            rows = {"cls": after[heat.layer][0], (1, 4): after[heat.layer][5 + 6 + 4]}
            row = rows.get(heat.query, after[heat.layer][5:].mean(0))
            np.testing.assert_allclose(heat.mass, row[5:].reshape(4, 6), rtol=1e-5)
            assert heat.head is None


def test_rollout_of_a_model_without_class_token_is_the_mean(picture):
    model = sharp(
        timm.create_model(
            "vit_base_patch16_siglip_224", img_size=32, patch_size=8, depth=2, embed_dim=16,
            num_heads=2,
        )
    )  # fmt: skip
    (heat,) = mimprobe.rollout_overlay(model, picture, transform=PREPARE[32, 32], device="cpu").maps
    assert heat.query == "mean"
    assert heat.layer == 1
    assert heat.mass.sum() == pytest.approx(1)
    with pytest.raises(OptionError, match="has no class token; choose centre or ROW,COL"):
        overlay(model, picture, (32, 32), queries=["cls"])


def test_the_network_is_left_as_it_was(vit, picture):
    vit.train()
    overlay(vit, picture)
    assert vit.training
    assert all(block.attn.fused_attn for block in vit.blocks)
    assert all(parameter.requires_grad for parameter in vit.parameters())
    vit.eval()


def test_bad_input_is_one_line(vit, swin, picture, tmp_path):
    cases = [
        ({"layers": [3]}, OptionError, r"no attention in layer 4; choose 1 to 3 \(in Python 0 to"),
        ({"layers": [-1]}, OptionError, "no attention in layer 0; choose 1 to 3"),
        ({"heads": [3]}, OptionError, "has 3 heads, so there is no head 3; choose 0 to 2"),
        ({"queries": [(4, 0)]}, OptionError, "4,0 lies outside the grid of 4 x 6 patches; rows"),
        ({"queries": [(0, -1)]}, OptionError, "0,-1 lies outside the grid"),
        ({"queries": ["center"]}, UnknownNameError, "did you mean 'centre'"),
        ({"queries": ["mean"]}, UnknownNameError, "unknown query 'mean'"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            overlay(vit, picture, **arguments)
    with pytest.raises(SiteError, match=r"swin\) attends within windows .* for ViT and BEiT"):
        mimprobe.rollout_overlay(swin, picture, transform=PREPARE[64, 72], device="cpu")
    with pytest.raises(UnknownNameError, match="unknown fusion of heads 'sum'"):
        mimprobe.rollout_overlay(vit, picture, transform=PREPARE[32, 48], fusion="sum")
    with pytest.raises(SiteError, match=r"\(resnet\) has no attention that could be laid over"):
        overlay(timm.create_model("resnet18"), picture)
    for number in range(2):
        picture.save(tmp_path / f"{number}.png")
    with pytest.raises(OptionError, match=r"shows one image; .* holds 2, name one"):
        overlay(vit, tmp_path)


def test_nan_is_told_with_its_layer(picture):
    model = timm.create_model("test_vit", img_size=32)
    model.blocks[1].attn.qkv.weight.data[:] = torch.nan
    with pytest.raises(NonFiniteError, match=r"'VisionTransformer' gave NaN .* at blocks\.1\.attn"):
        overlay(model, picture, (32, 32), layers=[1])
