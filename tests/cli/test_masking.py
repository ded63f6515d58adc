"""`mimprobe avgdist`, `reconstruct` and `export`, as a user runs them."""

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from mimprobe.cli import group
from mimprobe.cli.avgdist import read_ratios, read_size
from mimprobe.errors import MimprobeError

TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def refusal(*typed):
    outcome = CliRunner().invoke(group, [str(one) for one in typed], standalone_mode=False)
    assert isinstance(outcome.exception, click.ClickException | MimprobeError), outcome.output
    told = str(getattr(outcome.exception, "message", outcome.exception))
    assert "\n" not in told
    return told


def test_avgdist_prints_a_table_and_writes_it_with_its_figure(mimprobe, tmp_path):
    out = tmp_path / "out"
    outcome = mimprobe(
        "avgdist", "--strategy", "random", "--patches", "16,64", "--ratios", ".5,.9",
        "--input-size", 192, "--draws", 5, "-o", out,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    table = pd.read_csv(out / "avgdist.csv")
    assert list(table["mask_patch"]) == [16, 16, 64, 64]
    header, first, second, last = (line.rstrip() for line in outcome.out.splitlines())
    assert header.split() == ["AvgDist,", "px", "0.5", "0.9"]
    row = table.iloc[0]
    assert first.split()[:5] == ["patch", "16", f"{row.value:.2f}", "±", f"{row.se:.2g}"]
    assert second.endswith("undefined")
    assert last == f"table: {out / 'avgdist.csv'}"
    assert (out / "avgdist.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "avgdist.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("text", [".1..9", ".1...9", "0.1..0.9", "0.1...9"])
def test_ranges_of_ratios(text):
    assert read_ratios(text) == TENTHS


def test_lists_of_ratios_and_sizes():
    assert read_ratios(".25,0.6") == [0.25, 0.6]
    assert read_size("192") == 192
    assert read_size("192x256") == (192, 256)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--strategy", "sqare"], "did you mean 'square'?"),
        (["--patches", "5"], "does not divide into mask patches of 5 px"),
        (["--patches", "a"], "'a' is not a list of sides"),
        (["--ratios", "1.2"], "mask ratio 1.2 is not between 0 and 1"),
        (["--ratios", "few"], "neither a list of ratios such as .5,.6 nor a range"),
        (["--input-size", "0"], "'0' is neither a side such as 192 nor HEIGHTxWIDTH"),
    ],
)
def test_bad_input_of_avgdist(tmp_path, arguments, told):
    assert told in refusal("avgdist", "-o", tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_reconstruct_writes_a_figure_for_each_image_and_one_of_all(mimprobe, photos, tmp_path):
    out = tmp_path / "out"
    outcome = mimprobe(
        "reconstruct", "simmim-tiny40", "--images", photos, "--limit", 2, "--mask", "block",
        "-o", out, "--device", "cpu",
    )  # fmt: skip
    assert (outcome.status, outcome.out) == (0, f"figures: {out}\n"), outcome.err
    names = sorted(path.name for path in out.iterdir())
    assert len(names) == 3
    assert names[-1] == "all.png"
    assert [name[:4] for name in names[:2]] == ["000-", "001-"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())
    again = refusal("reconstruct", "simmim-tiny40", "--images", photos, "-o", out)
    assert "pass --overwrite" in again


@pytest.mark.parametrize(
    ("model", "arguments", "told"),
    [
        ("simmim-tiny40", ["--mask", "box 1 2 3"], "a box has four numbers, X0 Y0 X1 Y1, not 3"),
        ("simmim-tiny40", ["--mask", "box 0 0 99 9"], "does not lie in an input 64 px wide"),
        ("simmim-tiny40", ["--mask", "box a b c d"], "is not 'box X0 Y0 X1 Y1'"),
        ("simmim-tiny40", ["--mask", "nowhere.png"], "unknown mask 'nowhere.png'"),
        ("simmim-tiny40", ["--mask-ratio", "1.5"], "mask ratio 1.5 is not between 0 and 1"),
        ("supervised-tiny40", [], "supervised-tiny40 has no decoder that predicts pixels"),
        ("hf:facebook/vit-mae-base", [], "has no decoder that predicts pixels"),
    ],
)
def test_bad_input_of_reconstruct(photos, tmp_path, model, arguments, told):
    typed = ["reconstruct", model, "--images", photos, "-o", tmp_path / "out", "--device", "cpu"]
    assert told in refusal(*typed, *arguments)
    assert not list(tmp_path.iterdir())


def test_export_writes_a_file_that_models_check_knows(mimprobe, tmp_path):
    target = tmp_path / "simmim.pth"
    outcome = mimprobe("export", "simmim-tiny40", "--format", "simmim", "-o", target)
    assert (outcome.status, outcome.out) == (0, f"weights: {target}\n"), outcome.err
    assert "is already there" in refusal("export", "simmim-tiny40", "-o", target)
    assert "was not trained by" in refusal("export", "supervised-tiny40", "-o", tmp_path / "x.pth")
