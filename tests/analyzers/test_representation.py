"""Diagnostics of features through real networks, against definitions in NumPy."""

import math

import numpy as np
import pytest
import timm
import torch
from feeding import assert_same, feed, hsic

from mimprobe.analyzers import (
    Cka,
    EffectiveRank,
    FeatureNorm,
    HighFrequency,
    MutualNeighbours,
    TokenSimilarity,
)
from mimprobe.analyzers.view import views
from mimprobe.errors import NonFiniteError, OptionError, UnknownNameError
from mimprobe.hooks import FeaturesSeen, capture
from mimprobe.measures.frequency import diagonal
from mimprobe.models.geometry import Geometry
from mimprobe.models.sites import layout

IMAGES = 14
KINDS = dict.fromkeys(["net", "other"], "mim")
ALL = [list(range(IMAGES))]


def vit(**settings):
    return timm.create_model(
        "vit_tiny_patch16_224", num_heads=3, patch_size=8,
        **{"img_size": (32, 48), "embed_dim": 24, "depth": 2} | settings,
    )  # fmt: skip


def swin(family="swin_tiny_patch4_window7_224", **settings):
    return timm.create_model(
        family, img_size=(48, 64), depths=(2, 2), embed_dim=16, num_heads=(2, 4), window_size=4,
        **settings,
    )  # fmt: skip


NETWORKS = {
    "no prefix": (lambda: vit(class_token=False, global_pool="avg"), (32, 48)),
    "class token": (vit, (32, 48)),
    "distilled": (
        lambda: timm.create_model(
            "deit_tiny_distilled_patch16_224", img_size=(32, 48), embed_dim=24, depth=2,
            num_heads=3, patch_size=8,
        ),
        (32, 48),
    ),
    "registers": (lambda: vit(reg_tokens=4, img_size=(40, 24)), (40, 24)),
    "swin": (swin, (48, 64)),
    "swinv2": (lambda: swin("swinv2_tiny_window8_256"), (48, 64)),
    "resnet": (lambda: timm.create_model("resnet10t"), (70, 96)),
}  # fmt: skip


def pixels(size, seed=0):
    return torch.randn(IMAGES, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    torch.manual_seed(0)
    make, size = NETWORKS[request.param]
    model = make().eval()
    sites = layout(model).feature_sites
    with torch.inference_mode(), capture(model, sites) as seen:
        model(pixels(size))
    return model, pixels(size), dict(seen)


def by_oracle(tokens, geometry):
    """Each diagnostic of one image, with NumPy in float64."""
    patches = tokens[geometry.prefix_tokens :]
    lengths = np.linalg.norm(patches, axis=1)
    unit = patches[lengths > 0] / lengths[lengths > 0, None]
    cosines = unit @ unit.T
    count = len(unit)
    cube = np.fft.fft2(patches.reshape(*geometry.grid, -1), axes=(0, 1))
    alive = np.abs(patches).sum(0) > 0
    logs = np.log(np.abs(cube[:, :, alive]))
    curve = [(logs[u, v] - logs[0, 0]).mean() for u, v in diagonal(geometry.grid)]
    sizes = np.sort(np.abs(tokens).ravel())
    middle = sizes[(len(sizes) - 1) // 2]
    return {
        "token_similarity": (cosines.sum() - np.trace(cosines)) / (count * (count - 1)),
        "high_frequency": curve[-1],
        "feature_norm": lengths.mean(),
        "activation_ratio": sizes[-1] / middle if middle else math.nan,
        "log_amplitude": curve,
    }


@pytest.mark.parametrize("make", [TokenSimilarity, HighFrequency, FeatureNorm])
def test_per_image_diagnostics_are_those_of_the_definition(make, case):
    model, images, seen = case
    table = feed(make(), {"net": model}, {"net": images}, [[5, 1, 7], ALL[0][:1], [2, 3, 4, 6],
                 list(range(8, IMAGES))], IMAGES).table(KINDS)  # fmt: skip
    assert table["head"].isna().all()
    for site, found in seen.items():
        truth = [by_oracle(tokens, found.geometry) for tokens in found.tokens.double().numpy()]
        for metric in make.units:
            rows = table[(table["site"] == site) & (table["metric"] == metric)]
            values = np.array([one[metric] for one in truth], float).reshape(IMAGES, -1)
            if np.isnan(values).all():
                assert rows["n"].item() == 0
                continue
            np.testing.assert_allclose(
                rows["value"].to_numpy(float), np.nanmean(values, 0), rtol=1e-5, atol=1e-9
            )
            if np.isfinite(values).all():
                np.testing.assert_allclose(
                    rows["se"].to_numpy(float), values.std(0, ddof=1) / math.sqrt(IMAGES),
                    rtol=1e-4, atol=1e-9,
                )  # fmt: skip
            if metric == "log_amplitude":
                at = np.linspace(0, 1, values.shape[1])
                np.testing.assert_allclose(rows["at"].to_numpy(float), at)


def pooled(seen, site):
    found = seen[site]
    return found.tokens.double().numpy()[:, found.geometry.prefix_tokens :].mean(1)


@pytest.mark.parametrize("centred", [True, False])
def test_effective_rank_is_that_of_numpy(case, centred):
    model, images, seen = case
    tool = feed(EffectiveRank(centred=centred), {"net": model}, {"net": images}, ALL, IMAGES)
    table = tool.table(KINDS)
    assert tool.describe()["centred"] is centred
    assert ("less their mean" in tool.describe()["definition"]) is centred
    for site in seen:
        x = pooled(seen, site)
        values = np.linalg.svd(x - centred * x.mean(0), compute_uv=False)
        shares = values / values.sum()
        rank = math.exp(-sum(p * math.log(p) for p in shares if p > 1e-9))
        rows = table[table["site"] == site]
        single = rows[rows["metric"] == "effective_rank"]
        assert single["value"].item() == pytest.approx(rank, rel=1e-5)
        curve = rows[rows["metric"] == "singular_value"]
        np.testing.assert_allclose(curve["value"], shares[: len(curve)], rtol=1e-4, atol=1e-6)
        assert curve["at"].tolist() == list(range(1, len(curve) + 1))


def test_neighbours_are_counted_between_and_within_networks():
    torch.manual_seed(1)
    nets = {"net": vit().eval(), "other": timm.create_model("resnet10t").eval()}
    images = {"net": pixels((32, 48)), "other": pixels((64, 64), 1)}
    tool = feed(MutualNeighbours(k=3), nets, images, [ALL[0][5:], ALL[0][:5]], IMAGES)
    table = tool.table(KINDS)
    assert tool.describe()["chance"] == 3 / 13
    vectors = {}
    for name, model in nets.items():
        with torch.inference_mode(), capture(model, layout(model).feature_sites) as seen:
            model(images[name])
        vectors[name] = [pooled(dict(seen), site) for site in layout(model).feature_sites]
    for row in table.to_dict("records"):
        lists = []
        for name, layer in ((row["model"], row["layer"]), (row["other_model"], row["other_layer"])):
            unit = vectors[name][layer]
            unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
            cosines = unit @ unit.T
            np.fill_diagonal(cosines, -9)
            lists.append([set(np.argsort(line)[-3:]) for line in cosines])
        overlap = np.array([len(a & b) / 3 for a, b in zip(*lists, strict=True)])
        assert row["value"] == pytest.approx(overlap.mean(), abs=1e-12)
        assert row["se"] == pytest.approx(overlap.std(ddof=1) / math.sqrt(IMAGES), abs=1e-12)


@pytest.mark.parametrize("tokens", ["mean", "cls", "flattened"])
def test_cka_between_networks_of_other_depth_width_family_and_size(tokens):
    torch.manual_seed(2)
    other = vit(depth=3, embed_dim=36, img_size=40) if tokens == "cls" else swin()
    nets = {"net": vit().eval(), "other": other.eval()}
    images = {"net": pixels((32, 48)), "other": pixels((40, 40) if tokens == "cls" else (48, 64))}
    split = [[9, 3, 12], ALL[0][4:9], [0, 1, 2, 10, 11, 13]]
    make = lambda: Cka(tokens=tokens, batch=6)  # noqa: E731
    table = feed(make(), nets, images, split, IMAGES).table(KINDS)
    assert_same(table, feed(make(), nets, images, ALL, IMAGES).table(KINDS))
    features = []
    for name, model in nets.items():
        site = layout(model).feature_sites[-1]
        with torch.inference_mode(), capture(model, [site]) as seen:
            model(images[name])
        found = seen[site].tokens.double().numpy()
        patches = found[:, seen[site].geometry.prefix_tokens :]
        whole = {"mean": patches.mean(1), "flattened": patches.reshape(IMAGES, -1)}
        features.append(found[:, 0] if tokens == "cls" else whole[tokens])
    x, y = features
    # Two batches of 6 images; the last one has 2 and is left out.
    batches = [slice(0, 6), slice(6, 12)] if tokens == "flattened" else [slice(0, IMAGES)]
    both, own, its = (
        sum(hsic(a[part] - a.mean(0), b[part] - b.mean(0)) for part in batches)
        for a, b in ((x, y), (x, x), (y, y))
    )
    last = layout(nets["other"]).feature_sites[-1]
    row = table[(table["model"] == "net") & (table["layer"] == 1)]
    row = row[(row["other_model"] == "other") & (row["other_site"] == last)]
    assert row["value"].item() == pytest.approx(both / math.sqrt(own * its), rel=1e-4, abs=1e-5)
    assert row["n"].item() == (12 if tokens == "flattened" else IMAGES)


def test_cka_of_one_stage():
    nets = {"net": vit().eval(), "other": swin().eval()}
    images = {"net": pixels((32, 48)), "other": pixels((48, 64))}
    table = feed(Cka(stage=1), nets, images, ALL, IMAGES).table(KINDS)
    assert set(table.loc[table["model"] == "other", "site"]) == {
        "stages.1.blocks.0.out", "stages.1.blocks.1.out",
    }  # fmt: skip
    assert set(table.loc[table["model"] == "net", "layer"]) == {0, 1}
    with pytest.raises(OptionError, match="this swin model has 2 stages; stage=2"):
        feed(Cka(stage=2), nets, images, ALL, IMAGES)


def test_cka_on_disk_equals_cka_in_memory_and_the_memory_is_stated():
    nets, images = {"net": vit().eval()}, {"net": pixels((32, 48))}
    memory = feed(Cka(), nets, images, ALL, IMAGES)
    disk = feed(Cka(budget_bytes=2 * 24 * 4 * IMAGES - 1), nets, images, ALL, IMAGES)
    assert disk._stream.on_disk
    assert not memory._stream.on_disk
    np.testing.assert_allclose(disk.table(KINDS)["value"], memory.table(KINDS)["value"], rtol=1e-12)
    assert memory.describe()["memory"] == "pooled features of 14 images: 0.0 MB in memory"
    assert disk.describe()["memory"].endswith("in a temporary file")
    batched = feed(Cka(tokens="flattened"), nets, images, ALL, IMAGES)
    assert "features of 64 images at a time" in batched.describe()["memory"]


def test_choices_that_do_not_exist_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'flattened'"):
        Cka(tokens="flatened")
    with pytest.raises(OptionError, match="a batch of 3 images"):
        Cka(tokens="flattened", batch=3)
    with pytest.raises(OptionError, match="k must be at least 1"):
        MutualNeighbours(k=0)


def test_features_are_cut_into_views_and_nan_is_told_with_its_image(monkeypatch):
    monkeypatch.setattr("mimprobe.analyzers.view.CHUNK_BYTES", 4 * 17 * 8 * 4)
    tokens = torch.randn(5, 17, 8)
    pieces = list(views(FeaturesSeen("blocks.0.out", 0, tokens, Geometry((4, 4), (16, 16), 1))))
    assert [view.first for view in pieces] == [0, 4]
    assert torch.equal(torch.cat([view.patches for view in pieces]), tokens[:, 1:])
    for place in ((4, 0, 3), (4, 9, 1)):
        broken = tokens.clone()
        broken[place] = torch.inf
        seen = FeaturesSeen("blocks.0.out", 0, broken, Geometry((4, 4), (16, 16), 1))
        with pytest.raises(NonFiniteError) as caught:
            _ = [FeatureNorm().measure(view) for view in views(seen)]
        assert caught.value.row == 4
    with pytest.raises(NonFiniteError):
        _ = [Cka(tokens="flattened").measure(view) for view in views(seen)]


@pytest.mark.parametrize("make", [EffectiveRank, MutualNeighbours])
def test_a_restored_analyzer_goes_on(make):
    nets, images = {"net": vit().eval()}, {"net": pixels((32, 48))}
    first = feed(make(), nets, images, [ALL[0][:5]], IMAGES)
    state = first.state()
    rest = feed(make(), nets, images, [ALL[0][5:]], IMAGES)
    resumed = make()
    resumed.begin({"net": layout(nets["net"])}, IMAGES)
    resumed.restore(state)
    resumed.merge(rest)
    whole = feed(make(), nets, images, ALL, IMAGES)
    assert_same(resumed.table(KINDS), whole.table(KINDS))
