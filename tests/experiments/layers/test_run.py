"""Whole layer tests, against plain surgery, plain features and plain read-outs."""

import numpy as np
import pandas as pd
import pytest
import torch
from networks import PREPARE, class_folder, network, outcome_of
from PIL import Image

import mimprobe
from mimprobe.errors import (
    ImageError,
    NonFiniteError,
    OptionError,
    UnknownNameError,
)
from mimprobe.measures.similarity import linear_cka
from mimprobe.models.surgery import (
    drop_block,
    drop_last,
    mask_heads,
    permute_blocks,
    reinitialise_block,
    swap_blocks,
)
from mimprobe.readout import READOUTS
from mimprobe.tables import LAYER_TEST_COLUMNS, read_result


def plain(folder, module):
    """Features and labels of a folder, one image at a time."""
    files = sorted(folder.glob("*/*.png"))
    classes = sorted({file.parent.name for file in files})
    with torch.inference_mode():
        rows = [
            module.forward_features(PREPARE(Image.open(file))[None])[:, 1:].mean(1)
            for file in files
        ]
    labels = [classes.index(file.parent.name) for file in files]
    return torch.cat(rows).clone(), torch.tensor(labels)


def readings(folders, module, readout, seed=0):
    (known, labels), (asked, truth) = plain(folders[0], module), plain(folders[1], module)
    right = READOUTS[readout](known, labels, asked, truth, seed=seed).correct.double().numpy()
    whole, _ = plain(folders[1], network("vit"))
    return right, float(linear_cka(whole, asked))


def rows(table, **where):
    keep = np.ones(len(table), dtype=bool)
    for key, wanted in where.items():
        column = table[key]
        keep &= (column.isna() if wanted is None else column.eq(wanted).fillna(False)).to_numpy(
            bool
        )
    return table[keep]


def row(table, **where):
    found = rows(table, **where)
    assert len(found) == 1, found
    return found.iloc[0]


CHANGED = {
    "swap": (
        lambda model: swap_blocks(model, 1, 3), {"layer": 1, "other_layer": 3, "changed": 2}
    ),
    "drop": (lambda model: drop_block(model, 2), {"layer": 2, "changed": 1}),
    "reset": (
        lambda model: reinitialise_block(model, 2, 4 + 2),
        {"layer": 2, "changed": 1, "seed": 1},
    ),
    "heads": (
        lambda model: mask_heads(model, {3: [1]}), {"layer": 3, "head": 1, "changed": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize("test", CHANGED)
def test_single_changes_match_the_network_changed_by_hand(test, folders):
    change, where = CHANGED[test]
    table = outcome_of(test, folders, readouts=["knn"])[f"layer_{test}"]
    assert tuple(table.columns) == LAYER_TEST_COLUMNS
    right, cka = readings(folders, change(network("vit")), "knn")
    where = {"seed": None} | where
    found = row(table, metric="knn_accuracy", **where)
    assert found.value == pytest.approx(right.mean(), abs=1e-12)
    assert found["std"] == pytest.approx(right.std(ddof=1), abs=1e-12)
    assert found.se == pytest.approx(right.std(ddof=1) / np.sqrt(12), abs=1e-12)
    assert (found.n, found.unit, found.test) == (12, "1", test)
    assert row(table, metric="drift", **where).value == pytest.approx(cka, abs=1e-5)


def test_exchanges_stand_in_both_orders(folders):
    table = outcome_of("swap", folders)["layer_swap"]
    pairs = rows(table, metric="drift", seed=None)
    pairs = pairs[pairs["layer"].notna()]
    values = pairs.pivot(index="layer", columns="other_layer", values="value").to_numpy(float)
    assert values.shape == (4, 4)
    assert np.isfinite(values).sum() == 12
    np.testing.assert_array_equal(values, values.T)


@pytest.mark.parametrize("readout", ["knn", "linear"])
def test_a_point_of_the_curve_is_the_mean_over_its_seeds(readout, folders):
    result = outcome_of("swap", folders, readouts=[readout])
    curve = rows(result["layer_swap"], layer=None, changed=3)
    right = [
        readings(folders, permute_blocks(network("vit"), 3, seed), readout, seed)
        for seed in range(2)
    ]
    metric = f"{readout}_accuracy"
    for seed, (correct, cka) in enumerate(right):
        assert row(curve, metric=metric, seed=seed).value == pytest.approx(correct.mean())
        assert row(curve, metric="drift", seed=seed).value == pytest.approx(cka, abs=1e-5)
    by_image = np.mean([correct for correct, _ in right], axis=0)
    found = row(curve, metric=metric, seed=None)
    between = np.var([correct.mean() for correct, _ in right], ddof=1) / 2
    assert found.value == pytest.approx(by_image.mean())
    assert found.se == pytest.approx(np.sqrt(by_image.var(ddof=1) / 12 + between))
    kept = result.per_image.select(layer=3, metric=metric, site="swap")
    np.testing.assert_allclose(kept.values[:, 0], by_image, atol=1e-7)
    assert kept.columns["head"].tolist() == [-1]
    assert kept.images[:2] == ("dots/0.png", "dots/1.png")


def test_dropping_needs_seeds_for_what_is_drawn_alone(folders):
    table = outcome_of("drop", folders, readouts=["knn", "linear"])["layer_drop"]
    curve = rows(table, layer=None)
    assert sorted(curve["changed"].unique()) == [0, 1, 2, 3]
    assert rows(curve, metric="knn_accuracy")["seed"].isna().all()
    assert rows(curve, metric="linear_accuracy")["seed"].dropna().nunique() == 2
    assert rows(table, metric="linear_accuracy")["layer"].isna().all()
    right, cka = readings(folders, drop_last(network("vit"), 3), "knn")
    assert row(curve, metric="knn_accuracy", changed=3).value == pytest.approx(right.mean())
    assert row(curve, metric="drift", changed=3).value == pytest.approx(cka, abs=1e-5)
    assert row(curve, metric="drift", changed=0).value == pytest.approx(1, abs=1e-9)


def test_blocks_that_are_reset_together_have_different_weights(folders):
    table = outcome_of("reset", folders, readouts=["drift"])["layer_reset"]
    module = network("vit")
    for block in (3, 2):
        module = reinitialise_block(module, block, 4 + block)
    _, cka = readings(folders, module, "knn")
    curve = rows(table, layer=None, changed=2)
    assert row(curve, metric="drift", seed=1).value == pytest.approx(cka, abs=1e-5)
    assert sorted(table["changed"].unique()) == [0, 1, 2, 3, 4]


def test_several_models_batches_and_the_disk_change_nothing(folders, tmp_path):
    both = outcome_of("drop", folders, ("vit", "swin"), readouts=["knn"])
    alone = outcome_of("drop", folders, ("swin",), readouts=["knn"], batch_size=5, budget_bytes=100)
    table = both["layer_drop"]
    again = rows(table, model="swin").reset_index(drop=True)
    np.testing.assert_allclose(again["value"], alone["layer_drop"]["value"], atol=1e-6)
    both.write(tmp_path / "out")
    back = read_result(tmp_path / "out")
    assert back["layer_drop"]["layer"].isna().sum() == table["layer"].isna().sum()
    described = back.manifest["analyzers"]["layer_drop"]
    assert described["seeds"] == 2
    assert 0 < described["chance"] < 1
    assert "validation images named rightly" in described["definition"]
    assert back.manifest["train_images"]["n"] == 24
    assert back.manifest["images"]["n"] == 12
    assert [model["name"] for model in back.manifest["models"]] == ["vit", "swin"]


REFUSED = [
    ("turn", {}, UnknownNameError, "unknown layer test 'turn' (known: drop, heads, reset, swap)"),
    ("swap", {"readouts": ["kn"]}, UnknownNameError, "unknown read-out 'kn'; did you mean 'knn'?"),
    ("swap", {"readouts": []}, OptionError, "name at least one read-out: drift, finetune, knn"),
    ("swap", {"seeds": 0}, OptionError, "seeds must be at least 1, not 0"),
    ("swap", {"layer": 4}, OptionError, "model 'vit': layer=4 (--layer 5) of a network of 4 block"),
    ("swap", {"limit": 19}, OptionError, "knn asks 20 neighbours, and there are 19 images"),
    ("swap", {"limit": 3}, OptionError, "CKA needs at least 4 images, got 3"),
    ("swap", {"limit": 2}, OptionError, "limit=2 is fewer images than the 3 classes of "),
    ("heads", {"readouts": ["knn", "linear"]}, OptionError, "linear cannot tell what single heads"),
    ("drop", {"readouts": ["linear"], "limit": 3}, OptionError, "CKA needs at least 4 images"),
    ("swap", {"training": {"batch_size": 8}}, OptionError, "training (--training) sets batch_size"),
    ("swap", {"changed": [2]}, OptionError, "changed=[2] (--changed) chooses what is fine-tuned"),
    (
        "drop", {"changed": [4], "readouts": ["finetune"]}, OptionError,
        "changed=4 (--changed) is no point of the curve of model 'vit': in the test drop it has 0, "
        "1, 2, 3",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("test", "arguments", "error", "told"), REFUSED)
def test_what_is_refused(test, arguments, error, told, folders):
    with pytest.raises(error) as refused:
        outcome_of(test, folders, **arguments)
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


def test_networks_that_cannot_be_changed_are_refused(folders):
    import timm

    pairless = timm.models.SwinTransformer(
        img_size=16, patch_size=2, window_size=2, embed_dim=8, depths=(2, 2), num_heads=(2, 4)
    )
    cases = {"resnet18": timm.create_model("resnet18"), "pairless": pairless}
    for name, told in {
        "resnet18": "model 'resnet18': ResNet has no attention blocks",
        "pairless": "model 'pairless' has no two blocks that could change places",
    }.items():
        with pytest.raises(OptionError) as refused:
            mimprobe.layer_test(
                {name: cases[name]}, "swap", *folders, transform=PREPARE, device="cpu"
            )
        assert str(refused.value).startswith(told)


def test_labels_are_checked_first(folders, tmp_path):
    others = class_folder(tmp_path / "val", 2, 1, classes=("dots", "lines", "zebras"))
    with pytest.raises(ImageError, match="has classes that .* lacks"):
        outcome_of("drop", (folders[0], others))
    with pytest.raises(ImageError, match="no class folders"):
        outcome_of("drop", (folders[0] / "dots", folders[1]))


def test_nan_is_told_with_its_image(folders):
    module = network("vit")
    module.blocks[2].mlp.fc1.bias.data[0] = torch.nan
    with pytest.raises(NonFiniteError, match="model 'm' as it is gave NaN .* 'dots/0.png'"):
        mimprobe.layer_test({"m": module}, "drop", *folders, transform=PREPARE, device="cpu")


def test_what_changes_only_later_blocks_is_left_out(folders):
    drop = outcome_of("drop", folders, readouts=["knn"], layer=1)["layer_drop"]
    curve = drop[drop["layer"].isna() & (drop["metric"] == "drift")]
    assert curve["changed"].tolist() == [0, 3]  # 1 and 2 are behind the second block
    assert sorted(drop["layer"].dropna().unique()) == [0, 1]
    swap = outcome_of("swap", folders, readouts=["drift"], layer=1)["layer_swap"]
    pairs = swap[swap["layer"].notna()]
    assert {(2, 3), (3, 2)}.isdisjoint(zip(pairs["layer"], pairs["other_layer"], strict=True))
    assert len(pairs) == 10


def test_linear_rows_say_which_penalty_was_chosen(folders):
    table = outcome_of("drop", folders, readouts=["linear"])["layer_drop"]
    linear = table[table["metric"] == "linear_accuracy"]
    one, all_seeds = linear[linear["seed"].notna()], linear[linear["seed"].isna()]
    assert one["note"].str.fullmatch(r"penalty = [\de.-]+").all()
    assert all_seeds["note"].str.fullmatch(r"penalty = [\de.-]+, [\de.-]+").all()


def test_seeds_begin_at_the_one_given(folders):
    both = outcome_of("swap", folders, readouts=["linear"], seeds=2)["layer_swap"]
    later = outcome_of("swap", folders, readouts=["linear"], seeds=1, seed=1)["layer_swap"]
    second, only = (table[table["seed"] == 1].reset_index(drop=True) for table in (both, later))
    pd.testing.assert_frame_equal(second, only)
    assert set(later["seed"].dropna()) == {1}
