"""Metrics of real networks against their definitions in loops, in float64."""

import brute_force
import numpy as np
import pytest
import timm
import torch

from mimprobe.analyzers import ANALYZERS
from mimprobe.analyzers.view import views
from mimprobe.hooks import capture
from mimprobe.models.sites import layout

IMAGES = 3
VIT = {"depth": 2, "embed_dim": 24, "num_heads": 3, "patch_size": 8}
SWIN = {"depths": (2, 2), "embed_dim": 16, "num_heads": (2, 2)}
NETWORKS = {
    "no prefix": ("vit_tiny_patch16_224", (32, 32), VIT | {
        "class_token": False, "global_pool": "avg"}),
    "class token": ("vit_tiny_patch16_224", (32, 32), VIT),
    "two tokens": ("deit_tiny_distilled_patch16_224", (32, 32), VIT),
    "registers": ("vit_tiny_patch16_224", (32, 32), VIT | {"reg_tokens": 4}),
    "wide image": ("vit_tiny_patch16_224", (24, 40), VIT),
    "wide patches": ("vit_tiny_patch16_224", (24, 64), VIT | {"patch_size": (8, 16)}),
    "swin": ("swin_tiny_patch4_window7_224", (64, 64), SWIN | {"window_size": 4}),
    "padded swin": ("swin_tiny_patch4_window7_224", (40, 56), SWIN | {"window_size": 4}),
    "swinv2": ("swinv2_tiny_window8_256", (64, 64), SWIN | {"window_size": 4}),
    "padded swinv2": ("swinv2_tiny_window8_256", (40, 56), SWIN | {"window_size": 4}),
}  # fmt: skip


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    """A network, its images, and the raw maps and rows of each of its sites."""
    name, size, settings = NETWORKS[request.param]
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=size, **settings).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    pixels = torch.randn(IMAGES, 3, *size, generator=torch.Generator().manual_seed(1))
    sites = layout(model).attention_sites
    with torch.inference_mode(), capture(model, sites) as captured:
        model(pixels)
    return {"model": model, "pixels": pixels} | {
        "rows": {site: by_image(captured[site], model, site) for site in sites}
    }


def by_image(seen, model, name):
    """Site of the oracle, and rows by image and head."""
    geometry, block = seen.geometry, layout(model)[name].block
    windowed = geometry.window is not None
    site = brute_force.Site(
        geometry.grid, geometry.stride, geometry.prefix_tokens,
        tuple(block.window_size) if windowed else None,
        tuple(block.shift_size) if windowed else (0, 0),
    )  # fmt: skip
    maps = seen.attention.double().numpy()
    pieces = np.split(maps, IMAGES) if windowed else list(maps)
    return site, [brute_force.rows_of(piece, site) for piece in pieces]


def table_of(case, name):
    """The analyzer's table, through hooks, in two batches."""
    tool, model = ANALYZERS[name](), case["model"]
    tool.begin({"m": layout(model)}, IMAGES)

    def reduce(seen):
        pieces = [tool.measure(view) for view in views(seen)]
        return {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}

    for batch in ([0, 1], [2]):
        with torch.inference_mode(), capture(model, list(case["rows"]), reduce=reduce) as found:
            model(case["pixels"][batch])
        tool.add(batch, {"m": dict(found)})
    return tool.table({"m": "other"})


def close(found, wanted):
    np.testing.assert_allclose(np.asarray(found, dtype=float), wanted, rtol=1e-5, atol=1e-7)


def columns_of(values):
    """Mean, deviation and error over images of (image, column)."""
    values = np.asarray(values)
    std = values.std(0, ddof=1)
    return {"value": values.mean(0), "std": std, "se": std / np.sqrt(len(values))}


def check_rows(rows, values, rtol=1e-5):
    for name, wanted in columns_of(values).items():
        np.testing.assert_allclose(rows[name].to_numpy(float), wanted, rtol=rtol, atol=2e-7)
        rtol = 1e-3  # of deviations, which are small differences
    assert (rows["n"] == IMAGES).all()


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("attention_distance", "attention_distance"), ("attention_entropy", "attention_entropy"),
        ("attention_nmi", "attention_nmi"),
    ],
)  # fmt: skip
def test_metrics_of_heads(case, name, metric):
    table = table_of(case, name).query("metric == @metric")
    define = getattr(brute_force, metric)
    for site, (place, images) in case["rows"].items():
        more = (place,) if metric == "attention_distance" else ()
        values = [[define(rows, *more) for rows in heads] for heads in images]
        values = [[*heads, np.mean(heads)] for heads in values]
        check_rows(table[table["site"] == site], values)


@pytest.mark.parametrize("metric", ["head_kl", "head_distance"])
def test_metrics_of_pairs(case, metric):
    table = table_of(case, "head_pairs").query("metric == @metric")
    define = getattr(brute_force, metric)
    for site, (_, images) in case["rows"].items():
        values = [
            [
                define(one, two)
                for i, one in enumerate(heads)
                for j, two in enumerate(heads)
                if i != j
            ]
            for heads in images
        ]
        check_rows(table[table["site"] == site], [[*pairs, np.mean(pairs)] for pairs in values])
    ordered = table[table["head"].notna()][["head", "other_head"]].drop_duplicates()
    assert (ordered["head"] != ordered["other_head"]).all()


def test_distance_of_average_maps(case):
    table = table_of(case, "head_pairs").query("metric == 'mean_map_distance'")
    for site, (_, images) in case["rows"].items():
        heads = [
            brute_force.mean_rows([image[h] for image in images]) for h in range(len(images[0]))
        ]
        values = [
            brute_force.head_distance(one, two)
            for i, one in enumerate(heads) for j, two in enumerate(heads) if i != j
        ]  # fmt: skip
        rows = table[table["site"] == site]
        close(rows["value"], [*values, np.mean(values)])
        assert rows[["std", "se"]].isna().all(axis=None)
        assert (rows["n"] == IMAGES).all()


def test_profiles(case):
    table = table_of(case, "attention_profile")
    for site, (place, images) in case["rows"].items():
        rows = table[table["site"] == site]
        for head, own in rows.groupby(rows["head"].fillna(-1)):
            rings = range(len(own))
            edges = np.maximum((np.arange(len(own) + 1) - 0.5) * min(place.stride), 0)
            close(own["distance_low"], edges[:-1])
            close(own["distance_high"], edges[1:])
            found = [
                np.mean([_shares(rows, place, rings) for rows in heads], axis=0) if head < 0
                else _shares(heads[int(head)], place, rings)
                for heads in images
            ]  # fmt: skip
            check_rows(own, found)
            close(own["uniform"], _shares(brute_force.uniform(images[0][0]), place, rings))
            assert own["value"].sum() == pytest.approx(1, abs=1e-9)
            assert own["uniform"].sum() == pytest.approx(1, abs=1e-9)


def _shares(rows, place, rings):
    shares = brute_force.attention_profile(rows, place)
    assert set(shares) <= set(rings)
    return [shares.get(ring, 0.0) for ring in rings]


def test_offsets(case):
    table = table_of(case, "attention_offset")
    for site, (_, images) in case["rows"].items():
        rows = table[table["site"] == site]
        for head, own in rows.groupby("head"):
            found = [brute_force.attention_offset(heads[head]) for heads in images]
            offsets = list(zip(own["row_offset"], own["column_offset"], strict=True))
            assert set(offsets) == set(found[0])
            check_rows(own, [[one[offset] for offset in offsets] for one in found])
            even = brute_force.attention_offset(brute_force.uniform(images[0][head]))
            close(own["uniform"], [even[offset] for offset in offsets])
