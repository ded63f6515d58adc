"""`mimprobe layers`, as a user runs it."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mimprobe.cli import group
from mimprobe.tables import read_result

INTERRUPTED = """
import os, signal
from mimprobe.__main__ import main
from mimprobe.experiments.layers.judge import Judge
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are born deaf to it
real = Judge.of

def of(self, model):
    if model.name == "second":
        os.kill(os.getpid(), signal.SIGINT)
    return real(self, model)

Judge.of = of
main()
"""
"""The command, which interrupts itself at its second model."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, each in (("train", 12), ("val", 3)):
        for number, name in enumerate(("blue", "red")):
            (root / split / name).mkdir(parents=True)
            for index in range(each):
                pixels = draw.integers(0, 200, (40, 40, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * number] = 250
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root / "train", root / "val"


def typed(test, folders, out, *more):
    return [
        "layers", test, "simmim-tiny40", "--images", folders[0], "--val", folders[1], "-o", out,
        "--device", "cpu", *more,
    ]  # fmt: skip


def refusal(*arguments):
    outcome = CliRunner().invoke(group, list(map(str, arguments)), standalone_mode=False)
    assert outcome.exception is not None
    told = str(getattr(outcome.exception, "message", outcome.exception))
    assert "\n" not in told
    return told


def test_dropping_writes_a_table_and_a_report(mimprobe, folders, tmp_path):
    out = tmp_path / "out"
    outcome = mimprobe(*typed("drop", folders, out, "--readout", "knn", "--layer", 8))
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split()[:2] == ["claim", "verdict"]
    assert "no supervised" in lines[1]
    assert lines[-1].startswith("report: ")
    result = read_result(out)
    table = result["layer_drop"]
    assert set(table["metric"]) == {"drift", "knn_accuracy"}
    curve = table[table["layer"].isna()]
    assert sorted(curve["changed"]) == sorted([0, *range(5, 12)] * 2)  # 1 to 4 are behind layer 8
    assert result.manifest["analyzers"]["layer_drop"]["layer"] == 7
    assert result.manifest["command"].endswith("--layer 8")


@pytest.mark.parametrize(
    ("test", "more", "told"),
    [
        ("swap", ["--seeds", 0], "seeds must be at least 1, not 0"),
        ("swap", ["--readout", "svm"], "unknown read-out 'svm'"),
        (
            "drop",
            ["--changed", "0,x", "--readout", "finetune"],
            "'0,x' is not a list of numbers such",
        ),
        ("drop", ["--changed", "0,13", "--readout", "finetune"], "changed=13 (--changed) is no "),
        ("heads", ["--layer", 13], "model 'simmim-tiny40': layer=12 (--layer 13) of a network of"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(test, more, told, folders, tmp_path):
    assert refusal(*typed(test, folders, tmp_path / "out", *more)).startswith(told)
    assert not (tmp_path / "out").exists()


def test_images_without_classes_are_refused(folders, tmp_path):
    told = refusal(*typed("drop", (folders[0] / "red", folders[1]), tmp_path / "out"))
    assert "has no class folders" in told


def test_an_interrupted_test_goes_on(mimprobe, folders, tmp_path):
    out = tmp_path / "out"
    arguments = typed("drop", folders, out, "second=random:simmim-tiny40", "--readout", "knn")
    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *map(str, arguments)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert stopped.returncode == 130
    assert stopped.stderr.strip().endswith(
        "interrupted; the same command with --resume goes on from here"
    )
    again = mimprobe(*arguments)
    assert again.status == 2
    assert "pass --resume to go on with it, or --overwrite to start anew" in again.err
    done = mimprobe(*arguments, "--resume")
    assert done.status == 0, done.err
    assert "going on after 1 step of the run" in done.err
    assert set(read_result(out)["layer_drop"]["model"]) == {"simmim-tiny40", "second"}
    assert not (out / ".progress").exists()
