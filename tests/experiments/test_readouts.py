"""The table of read-outs on pictures that a colour tells apart, and its errors by definition."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimprobe.errors import ImageError, OptionError, OutputError, UnknownNameError
from mimprobe.experiments import model_readouts
from mimprobe.experiments.readouts import layer_readouts
from mimprobe.tables import READOUT_COLUMNS, read_result

MODEL = "simmim-tiny40"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three classes of one colour each, under noise; 12 and 6 of each."""
    root, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 6)):
        for label in range(3):
            (root / part / f"class {label}").mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 120, (64, 64, 3))
                pixels[..., label] += 60
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / part / f"class {label}" / f"{number}.png")
    return root / "train", root / "val"


@pytest.fixture(scope="module")
def result(folders):
    return layer_readouts(
        {"m": MODEL}, *folders, readouts=("knn", "linear", "attentive"), layers=[11, 2], seeds=2,
        device="cpu",
    )  # fmt: skip


def test_a_row_for_each_layer_pooling_and_read_out(result, tmp_path):
    table = result["readout"]
    assert tuple(table.columns) == READOUT_COLUMNS
    frozen = table[table["pooling"] != "tokens"]
    assert set(zip(frozen["layer"], frozen["pooling"], frozen["metric"], strict=True)) == {
        (layer, pooling, f"{name}_accuracy")
        for layer in (2, 11) for pooling in ("mean", "cls") for name in ("knn", "linear", "chance")
    }  # fmt: skip
    tokens = table[table["pooling"] == "tokens"]
    assert tokens["metric"].tolist() == ["attentive_accuracy"] * 2
    assert set(table["n"]) == {18}
    assert set(table.loc[table["metric"] == "chance_accuracy", "value"]) == {1 / 3}
    probes = table[table["metric"].isin(["linear_accuracy", "attentive_accuracy"])]
    assert (probes["value"] > 0.8).all()
    assert probes["note"].str.contains(r"^(?:penalty|steps) = \d").all()
    again = read_result(result.write(tmp_path / "out"))["readout"]
    assert again.dtypes["layer"] == "int64"
    np.testing.assert_allclose(again["value"], table["value"])
    assert again["note"].tolist() == table["note"].tolist()


def test_values_of_images_are_behind_the_means(result):
    values, table = result.per_image, result["readout"]
    assert len(values.images) == 18
    for row in table.to_dict("records"):
        own = values.select(layer=row["layer"], metric=f"{row['metric']}_{row['pooling']}").values[
            :, 0
        ]
        assert own.mean() == pytest.approx(row["value"], abs=1e-6)
        assert own.std(ddof=1) == pytest.approx(row["std"], abs=1e-6)


def test_the_manifest_says_how(result):
    told = result.manifest["analyzers"]["readout"]
    assert (told["neighbours"], told["temperature"]) == (20, 0.07)
    assert told["training_images"] == 36
    assert told["classes"] == ["class 0", "class 1", "class 2"]
    for words in ("20 nearest neighbours", "L-BFGS", "attends to all patch tokens", "commonest"):
        assert words in told["definition"]
    assert result.manifest["train_images"]["n"] == 36
    assert result.manifest["images"]["n"] == 18


def test_each_seed_draws_anew_and_repeats(folders):
    def linear(seed):
        found = layer_readouts({"m": MODEL}, *folders, readouts=("linear",), layers=[0], seeds=2,
                        seed=seed, device="cpu")  # fmt: skip
        return found["readout"]

    assert linear(0).equals(linear(0))


def test_skipped_images_are_left_out_of_both_sets(folders, tmp_path):
    for part, folder in zip(("train", "val"), folders, strict=True):
        (tmp_path / part).mkdir()
        for label in folder.iterdir():
            (tmp_path / part / label.name).symlink_to(label)
    extra = tmp_path / "train" / "class 9"
    damaged = [tmp_path / part / "class 9" / "0.png" for part in ("train", "val")]
    for path in damaged:
        path.parent.mkdir()
        path.write_bytes(b"damaged")
        Image.new("RGB", (64, 64)).save(path.with_name("1.png"))
        Image.new("RGB", (64, 64), "white").save(path.with_name("2.png"))
    assert extra.is_dir()
    found = layer_readouts(
        {"m": MODEL}, tmp_path / "train", tmp_path / "val", readouts=("knn",), layers=[0],
        device="cpu", skip_bad_images=True,
    )  # fmt: skip
    assert set(found["readout"]["n"]) == {20}
    assert len(found.per_image.images) == 20
    assert found.manifest["analyzers"]["readout"]["training_images"] == 38
    assert len(found.manifest["train_images"]["skipped"]) == 1


def test_what_cannot_be_read_out_is_told(folders, tmp_path):
    train, val = folders
    for arguments, error, told in (
        ({"readouts": ("svm",)}, UnknownNameError, "unknown read-out 'svm'"),
        ({"readouts": ()}, OptionError, "at least one read-out: knn, linear, attentive"),
        ({"poolings": ("max",)}, UnknownNameError, "unknown pooling 'max'"),
        ({"poolings": ()}, OptionError, "at least one pooling"),
        ({"layers": [12]}, OptionError, "m has no layer 13; its layers are 1 to 12"),
        ({"layers": []}, OptionError, "at least one layer"),
        ({"seeds": 0}, OptionError, "seeds must be at least 1"),
    ):
        with pytest.raises(error, match=told):
            layer_readouts({"m": MODEL}, train, val, device="cpu", **arguments)
    (tmp_path / "class 0").symlink_to(val / "class 0")
    (tmp_path / "class 1").symlink_to(val / "class 1")
    with pytest.raises(ImageError, match="lacks: class 2"):
        layer_readouts({"m": MODEL}, train, tmp_path, device="cpu")
    with pytest.raises(OptionError, match="knn asks 20 neighbours, and there are 18 images"):
        layer_readouts({"m": MODEL}, val, train, device="cpu")


def test_a_run_that_was_stopped_goes_on_to_the_same_table(monkeypatch, folders, result, tmp_path):
    settings = {
        "readouts": ("knn", "linear", "attentive"), "layers": [11, 2], "seeds": 2, "device": "cpu",
        "progress_in": tmp_path,
    }  # fmt: skip
    real, calls = model_readouts.attentive_probe, []

    def some(*arguments, **named):
        calls.append(named["seed"])
        if len(calls) == 3:
            raise RuntimeError
        return real(*arguments, **named)

    monkeypatch.setattr(model_readouts, "attentive_probe", some)
    with pytest.raises(RuntimeError):
        layer_readouts({"m": MODEL}, *folders, **settings)
    saved = {path.name for path in (tmp_path / ".progress").iterdir()}
    assert saved == {"0-frozen.pt", "0-attentive-blocks.2.out.pt"}
    with pytest.warns(UserWarning, match="^going on after 2 steps of the run$"):
        again = layer_readouts({"m": MODEL}, *folders, resume=True, **settings)
    assert calls[3:] == [0, 1]  # the two seeds of the layer that was not done
    pd.testing.assert_frame_equal(again["readout"], result["readout"], check_exact=True)
    np.testing.assert_array_equal(again.per_image.values, result.per_image.values)
    with pytest.raises(OutputError, match=r"other layers \(\[11, 2\] then, \[3\] now\)"):
        layer_readouts({"m": MODEL}, *folders, resume=True, **settings | {"layers": [3]})


def test_a_limit_draws_by_class(folders):
    found = layer_readouts(
        {"m": MODEL}, *folders, readouts=["linear"], layers=[2], seeds=1, device="cpu", limit=9
    )
    assert [name.split("/")[0] for name in found.per_image.images] == [
        f"class {label}" for label in range(3) for _ in range(3)
    ]
    assert found.manifest["train_images"]["n"] == 9
    assert found.manifest["analyzers"]["readout"]["training_images"] == 9
