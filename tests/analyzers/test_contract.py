"""What every analyzer must do, whichever it is: one suite over `ANALYZERS`."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from feeding import IMAGES, assert_same, feed, hsic

from mimprobe.analyzers import ANALYZERS, Cka, HeadKL, make_analyzers
from mimprobe.analyzers.view import AttentionView, views
from mimprobe.errors import NonFiniteError, OptionError, UnknownNameError
from mimprobe.hooks import AttentionSeen, FeaturesSeen, capture
from mimprobe.models.geometry import Geometry
from mimprobe.models.sites import layout

KINDS = {"plain": "mim", "windows": "supervised"}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    plain = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=2, embed_dim=24, num_heads=3, patch_size=16
    )
    windows = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=72, depths=(2, 2), embed_dim=16, num_heads=(2, 4),
        window_size=7,
    )  # fmt: skip
    for model in (plain, windows):
        for parameter in model.parameters():  # attention far from uniform
            torch.nn.init.normal_(parameter, std=0.3)
    return {"plain": plain.eval(), "windows": windows.eval()}


@pytest.fixture(scope="module")
def pixels():
    draw = torch.Generator().manual_seed(3)
    return {
        "plain": torch.randn(IMAGES, 3, 64, 64, generator=draw),
        "windows": torch.randn(IMAGES, 3, 72, 72, generator=draw),
    }


def looks_at_features(analyzer):
    places = layout(timm.create_model("test_vit"))
    return set(analyzer.sites(places)) <= set(places.feature_sites)


OF_IMAGES = sorted(ANALYZERS.keys() - {"kernels"})
"""All but the one that looks at weights alone, which has tests of its own."""


@pytest.fixture(params=OF_IMAGES)
def make(request):
    return ANALYZERS[request.param]


@pytest.fixture
def whole(make, networks, pixels):
    return feed(make(), networks, pixels, [list(range(IMAGES))])


def test_columns_and_kinds(whole, networks):
    table = whole.table(KINDS)
    assert tuple(table.columns) == whole.columns
    assert set(table["model"]) == set(networks)
    assert dict(zip(table["model"], table["kind"], strict=True)) == KINDS
    assert (table["n"] == IMAGES).all()
    assert set(table["metric"]) <= set(whole.describe()["units"])
    assert table["value"].notna().all()
    assert table["se"].gt(0).sum() > 0.5 * len(table)


def test_any_batch_split_gives_the_same(make, whole, networks, pixels):
    split = feed(make(), networks, pixels, [[0, 1, 2, 3, 4], [5], [6, 7, 8, 9, 10, 11]])
    assert_same(split.table(KINDS), whole.table(KINDS))


def test_any_order_gives_the_same(make, whole, networks, pixels):
    order = [[7, 3, 11], [0, 9, 4], [1, 10, 2], [8, 6, 5]]
    assert_same(feed(make(), networks, pixels, order).table(KINDS), whole.table(KINDS))


def test_merging_gives_the_same(make, whole, networks, pixels):
    first = feed(make(), networks, pixels, [[0, 1, 2, 3, 4]])
    second = feed(make(), networks, pixels, [[5, 6, 7, 8, 9, 10, 11]])
    second.merge(first)
    assert_same(second.table(KINDS), whole.table(KINDS))


def test_merging_into_an_empty_one_gives_the_same(make, whole, networks, pixels):
    empty = make()
    empty.merge(whole)
    assert_same(empty.table(KINDS), whole.table(KINDS))


def through_a_file(state, path):
    torch.save(state, path)
    return torch.load(path, weights_only=True)


def restored(make, networks, state):
    """A new analyzer, begun as the first was and given its state."""
    tool = make()
    tool.begin({name: layout(model) for name, model in networks.items()}, IMAGES)
    tool.restore(state)
    return tool


def show(analyzer, networks, pixels, batches):
    """Go on with an analyzer that has begun already."""
    begin, analyzer.begin = analyzer.begin, lambda places, n_images: None
    feed(analyzer, networks, pixels, batches)
    analyzer.begin = begin
    return analyzer


def test_a_restored_state_goes_on_as_if_nothing_had_happened(
    make, whole, networks, pixels, tmp_path
):
    tool = feed(make(), networks, pixels, [[4, 1], [0, 2, 3]])
    state = through_a_file(tool.state(), tmp_path / "state")
    show(tool, networks, pixels, [[5], [6, 7, 8, 9, 10, 11]])
    other = restored(make, networks, state)
    show(other, networks, pixels, [[5], [6, 7, 8, 9, 10, 11]])
    pd.testing.assert_frame_equal(other.table(KINDS), tool.table(KINDS), check_exact=True)
    assert_same(other.table(KINDS), whole.table(KINDS))
    with pytest.raises(OptionError, match="image 3 was added twice"):
        show(restored(make, networks, state), networks, pixels, [[3]])


def test_a_state_can_be_restored_twice_and_over_other_images(make, networks, pixels, tmp_path):
    tool = feed(make(), networks, pixels, [[0, 1, 2, 3, 4, 5, 6, 7, 8]])
    state = through_a_file(tool.state(), tmp_path / "state")
    for _ in range(2):
        other = feed(make(), networks, pixels, [[10, 11]])
        other.restore(state)
        show(other, networks, pixels, [[11, 10, 9]])
    show(tool, networks, pixels, [[11, 10, 9]])
    pd.testing.assert_frame_equal(other.table(KINDS), tool.table(KINDS), check_exact=True)


def test_the_state_of_an_empty_one_is_empty(make, whole, networks, pixels, tmp_path):
    empty = feed(make(), networks, pixels, [])
    other = restored(make, networks, through_a_file(empty.state(), tmp_path / "state"))
    show(other, networks, pixels, [list(range(IMAGES))])
    assert_same(other.table(KINDS), whole.table(KINDS))


def test_states_of_several_processes_merge(make, networks, pixels, tmp_path):
    """Batches dealt out to three processes of which one gets none, merged in another one."""
    own = feed(make(), networks, pixels, [[0, 1, 2], [6, 7, 8]])
    for number, batches in enumerate(([[3, 4, 5], [9, 10, 11]], [])):
        tool = feed(make(), networks, pixels, batches)
        state = through_a_file(tool.state(), tmp_path / str(number))
        own.merge(restored(make, networks, state))
    alone = feed(make(), networks, pixels, [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    assert_same(own.table(KINDS), alone.table(KINDS), rtol=1e-9, atol=1e-9)


def test_a_copy_begun_anew_leaves_the_first_alone(make, networks, pixels):
    tool = feed(make(), networks, pixels, [list(range(IMAGES))])
    before = tool.table(KINDS)
    twin = copy.copy(tool)
    feed(twin, networks, pixels, [[3, 1, 0, 2]])
    pd.testing.assert_frame_equal(tool.table(KINDS), before, check_exact=True)


def test_an_image_cannot_count_twice(make, networks, pixels):
    with pytest.raises(OptionError, match="twice"):
        feed(make(), networks, pixels, [[0, 1, 2, 3], [3, 4]])


def test_measuring_leaves_the_map_as_it_was(make):
    analyzer = make()
    draw = torch.Generator().manual_seed(0)
    if looks_at_features(analyzer):
        tokens = torch.randn(2, 17, 8, generator=draw)
        seen = FeaturesSeen("blocks.0.out", 0, tokens, Geometry((4, 4), (16, 16), 1))
        original = tokens.clone()
    else:
        tokens = torch.rand(2, 3, 17, 17, generator=draw).softmax(-1)
        seen = AttentionSeen("blocks.0.attn.probs", 0, tokens, Geometry((4, 4), (16, 16), 1))
        original = tokens.clone()
    for view in views(seen):
        for value in analyzer.measure(view).values():
            assert not value.requires_grad
    assert torch.equal(tokens, original)


def test_nan_is_told_with_its_image(make):
    analyzer = make()
    if looks_at_features(analyzer):
        tokens = torch.randn(3, 17, 8)
        tokens[2, 5, 3] = torch.nan
        seen = FeaturesSeen("blocks.0.out", 0, tokens, Geometry((4, 4), (16, 16), 1))
    else:
        tokens = torch.rand(3, 3, 17, 17).softmax(-1)
        tokens[2, 1, 4, 4] = torch.nan
        seen = AttentionSeen("blocks.0.attn.probs", 0, tokens, Geometry((4, 4), (16, 16), 1))
    with pytest.raises(NonFiniteError) as caught:
        _ = [analyzer.measure(view) for view in views(seen)]
    assert caught.value.row == 2


def test_large_maps_are_cut_into_views_of_whole_images(monkeypatch):
    monkeypatch.setattr("mimprobe.analyzers.view.CHUNK_BYTES", 2 * 4 * 3 * 16 * 16 * 4)
    geometry = Geometry((8, 8), (4, 4), window=(4, 4))
    attention = torch.rand(5 * 4, 3, 16, 16).softmax(-1)
    seen = AttentionSeen("stages.0.blocks.0.attn.probs", 0, attention, geometry)
    pieces = list(views(seen))
    assert [view.first for view in pieces] == [0, 2, 4]
    assert [len(view.attention) for view in pieces] == [8, 8, 4]
    assert torch.equal(torch.cat([view.attention for view in pieces]), attention)


def test_a_merged_value_is_the_mean_over_images_of_the_definition(networks, pixels):
    """The whole chain once, against loops over a captured map: ViT, layer 1, all heads."""
    model, images = networks["plain"], pixels["plain"]
    with torch.inference_mode(), capture(model, ["blocks.1.attn.probs"]) as seen:
        model(images)
    maps = seen["blocks.1.attn.probs"].attention.double().numpy()[:, :, 1:, 1:]
    maps = maps / maps.sum(-1, keepdims=True)
    places = [(16 * row, 16 * column) for row in range(4) for column in range(4)]
    distance, entropy, divergence = (np.zeros((IMAGES, 3)) for _ in range(3))
    for image, head in itertools.product(range(IMAGES), range(3)):
        rows = maps[image, head]
        distance[image, head] = np.mean(
            [sum(p * np.hypot(places[q][0] - y, places[q][1] - x)
                 for p, (y, x) in zip(rows[q], places, strict=True)) for q in range(16)]
        )  # fmt: skip
        entropy[image, head] = np.mean([-sum(p * np.log(p) for p in row) for row in rows])
        divergence[image, head] = np.mean(
            [np.mean(np.sum(rows * np.log(rows / maps[image, other]), -1))
             for other in range(3) if other != head]
        )  # fmt: skip
    for name, truth in (
        ("attention_distance", distance), ("attention_entropy", entropy), ("head_kl", divergence),
    ):  # fmt: skip
        table = feed(ANALYZERS[name](), networks, pixels, [list(range(IMAGES))]).table(KINDS)
        rows = table.query("model == 'plain' and layer == 1 and metric == @name")
        heads = rows[rows["head"].notna()]
        np.testing.assert_allclose(heads["value"].to_numpy(float), truth.mean(0), rtol=1e-5)
        np.testing.assert_allclose(heads["std"].to_numpy(float), truth.std(0, ddof=1), rtol=1e-4)
        mean = rows[rows["head"].isna()].iloc[0]
        assert mean["value"] == pytest.approx(truth.mean(), rel=1e-5)
        spread = truth.mean(1).std(ddof=1)
        assert mean["se"] == pytest.approx(spread / np.sqrt(IMAGES), rel=1e-4)


def test_per_image_values_are_named_and_averaged(networks, pixels):
    tool = feed(ANALYZERS["head_kl"](), networks, pixels, [[5, 4, 3], [2, 1, 0]], total=6)
    values = tool.per_image([f"image-{number}" for number in range(6)])
    assert values.images == tuple(f"image-{number}" for number in range(6))
    table = tool.table(KINDS).reset_index(drop=True)
    np.testing.assert_allclose(values.values.mean(0), table["value"].to_numpy(float), rtol=1e-5)


def test_a_normalised_distance_is_the_share_of_uniform_attentions(networks, pixels):
    tool = feed(ANALYZERS["attention_distance"](), networks, pixels, [list(range(IMAGES))])
    table = tool.table(KINDS).set_index(["model", "layer", "metric"])
    places = [(16 * row, 16 * column) for row in range(4) for column in range(4)]
    uniform = np.mean([np.hypot(a - c, b - d) for a, b in places for c, d in places])
    for layer in range(2):
        found, share = (
            table.loc["plain", layer, f"attention_distance{end}"]["value"].to_numpy(float)
            for end in ("", "_normalised")
        )
        np.testing.assert_allclose(share, found / uniform, rtol=1e-5)
    shares = table.xs("attention_distance_normalised", level="metric")["value"]
    assert shares.between(0.1, 2).all()


def test_cka_hands_on_what_the_error_of_its_mean_follows_from(networks, pixels):
    tool = feed(Cka(), networks, pixels, [list(range(IMAGES))])
    table, alike = tool.table(KINDS), tool.describe()["alike"]
    within = table[
        (table["model"] == table["other_model"]) & (table["layer"] < table["other_layer"])
    ]
    assert set(alike) == set(networks)
    (pair,) = within[within["model"] == "plain"].itertuples()
    left = np.array(alike["plain"])
    assert len(left) == IMAGES
    spread = (left - left.mean()) ** 2
    assert pair.se == pytest.approx(np.sqrt((IMAGES - 1) / IMAGES * spread.sum()))
    several = within[within["model"] == "windows"]["value"]
    assert np.mean(alike["windows"]) == pytest.approx(several.mean(), abs=0.1)


def test_windowed_models_report_padding_and_no_prefix(networks, pixels):
    table = feed(ANALYZERS["prefix_mass"](), networks, pixels, [list(range(IMAGES))]).table(KINDS)
    by_model = {name: set(rows["metric"]) for name, rows in table.groupby("model")}
    assert by_model == {"plain": {"prefix_mass"}, "windows": {"padding_mass", "masked_mass"}}


def test_policies_that_mean_nothing_are_refused():
    with pytest.raises(OptionError, match="attention_distance cannot be taken with prefix='keep'"):
        ANALYZERS["attention_distance"](prefix="keep")
    with pytest.raises(OptionError, match="head_kl cannot be taken with prefix='drop'"):
        ANALYZERS["head_kl"](prefix="drop")
    with pytest.raises(UnknownNameError, match="did you mean 'renormalise'"):
        ANALYZERS["attention_entropy"](prefix="renormalize")


def test_cka_of_class_tokens(networks, pixels):
    plain = {"plain": networks["plain"]}
    tool = feed(Cka(tokens="cls"), plain, pixels, [list(range(IMAGES))])
    mean = feed(Cka(), plain, pixels, [list(range(IMAGES))])
    assert not np.allclose(tool.table(KINDS)["value"], mean.table(KINDS)["value"])
    assert tool.describe()["tokens"] == "cls"
    with pytest.raises(OptionError, match="this swin model has no class token"):
        feed(Cka(tokens="cls"), networks, pixels, [[0, 1, 2, 3]])


def test_cka_of_too_few_images(networks, pixels):
    with pytest.raises(OptionError, match="cka needs at least 4 images, here are 3"):
        feed(Cka(), networks, pixels, [[0, 1, 2]], total=3)


def test_cka_by_hand(networks, pixels):
    """Off-diagonal within a model and between models, against the estimator written out."""
    table = feed(Cka(), networks, pixels, [list(range(IMAGES))]).table(KINDS)
    pooled = {}
    for name, model in networks.items():
        site = layout(model).feature_sites[-1]
        with torch.inference_mode(), capture(model, [site]) as seen:
            model(pixels[name])
        tokens = seen[site].tokens.double().numpy()
        pooled[name] = tokens[:, seen[site].geometry.prefix_tokens :].mean(1)
    x, y = pooled["plain"], pooled["windows"]
    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    found = table.query(
        "model == 'plain' and layer == 1 and other_model == 'windows' and other_layer == 3"
    )
    assert found["value"].item() == pytest.approx(expected, rel=1e-4)
    same = table.query("model == other_model and layer == other_layer")
    np.testing.assert_allclose(same["value"], 1, rtol=1e-9)


def test_names():
    assert [tool.name for tool in make_analyzers(None)] == list(ANALYZERS)
    with pytest.raises(UnknownNameError, match=r"^unknown analyzer 'ckaa'; did you mean 'cka'\?"):
        make_analyzers(["ckaa"])
    with pytest.raises(OptionError, match="asked for twice"):
        make_analyzers(["cka", "cka"])


def test_an_analyzer_may_be_used_again(make, whole, networks, pixels):
    again = make()
    for _ in range(2):
        feed(again, networks, pixels, [list(range(IMAGES))])
    assert_same(again.table(KINDS), whole.table(KINDS))


def test_a_head_without_rows_takes_no_divergence_from_the_others():
    attention = torch.rand(2, 3, 5, 5, dtype=torch.float64)
    attention /= attention.sum(-1, keepdim=True)
    blind = attention.clone()
    blind[:, 1, 1:] = 0
    blind[:, 1, :, 0] = 1  # looks at the class token alone
    geometry = Geometry((2, 2), (16, 16), 1)
    found = HeadKL().measure(AttentionView(blind, geometry, 0))["head_kl"]
    assert found[:, 1].isnan().all()
    two = HeadKL().measure(AttentionView(attention[:, [0, 2]].clone(), geometry, 0))["head_kl"]
    torch.testing.assert_close(found[:, [0, 2]], two)
