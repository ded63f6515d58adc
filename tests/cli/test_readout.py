"""`mimprobe readout` on a few pictures, and one clear line for bad input."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mimprobe.cli import group
from mimprobe.errors import MimprobeError

MODEL = "simmim-tiny40"


def refusal(*typed):
    outcome = CliRunner().invoke(group, [str(one) for one in typed], standalone_mode=False)
    assert isinstance(outcome.exception, MimprobeError), outcome.output
    assert outcome.output == ""
    assert "\n" not in str(outcome.exception)
    return str(outcome.exception)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    root, draw = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for part in ("train", "val"):
        for label in range(2):
            (root / part / "ab"[label]).mkdir(parents=True)
            for number in range(12):
                pixels = draw.integers(0, 120, (64, 64, 3))
                pixels[..., label] += 100
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / part / "ab"[label] / f"{number}.png")
    return root


def arguments(root, out, *more):
    return ("readout", MODEL, "--train", root / "train", "--val", root / "val", "-o", out, *more)


def test_tables_report_and_the_best_layer(labelled, mimprobe, tmp_path):
    out = tmp_path / "out"
    outcome = mimprobe(*arguments(labelled, out, "--layers", "1,12", "--seeds", "2",
                                  "--pooling", "mean", "--device", "cpu"))  # fmt: skip
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split()[:4] == ["model", "read-out", "layer", "pooling"]
    assert [line.split()[:2] for line in lines[1:3]] == [[MODEL, "knn"], [MODEL, "linear"]]
    assert lines[3] == "best of all layers on the 24 images; chance is 50.0%"
    assert lines[4] == f"report: {out / 'report.html'}"
    names = {path.name for path in out.iterdir()}
    assert {"readout.csv", "manifest.json", "per_image.npz", "report.html"} <= names
    assert "already holds another result" in refusal(*arguments(labelled, out))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--readout", "knn,svm"), "unknown read-out 'svm'"),
        (("--pooling", "max"), "unknown pooling 'max'"),
        (("--layers", "13"), "has no layer 13; its layers are 1 to 12"),
    ],
)
def test_bad_choices_are_told_in_one_line(labelled, tmp_path, more, told):
    assert told in refusal(*arguments(labelled, tmp_path / "out", *more))


def test_the_class_token_of_a_network_without_one(labelled, tmp_path):
    asked = arguments(labelled, tmp_path / "out", "--pooling", "cls")
    told = refusal(*(("random:resnet18" if one == MODEL else one) for one in asked))
    assert "needs a class token, and random:resnet18 has none; use 'mean'" in told


def test_labels_that_are_missing_or_differ(labelled, photos, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "train").symlink_to(labelled / "train")
    (root / "val").symlink_to(photos)
    assert "val has no class folders" in refusal(*arguments(root, tmp_path / "out"))
    (root / "val").unlink()
    (root / "val").mkdir()
    (root / "val" / "b").symlink_to(labelled / "val" / "b")
    assert "lacks: a; that one has b" in refusal(*arguments(root, tmp_path / "out"))
