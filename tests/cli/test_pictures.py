"""`mimprobe overlay` and `mimprobe receptive`, as a user runs them."""

import json

import click
import pytest
from click.testing import CliRunner

from mimprobe.cli import group
from mimprobe.errors import MimprobeError


def assert_one_line(outcome, *told):
    assert outcome.status == 2, outcome.err
    assert outcome.out == ""
    (line,) = [line for line in outcome.err.splitlines() if "warning" not in line]
    for words in told:
        assert words in line


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_overlay_writes_a_figure(mimprobe, photos, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    outcome = mimprobe(
        "overlay", "simmim-tiny40", photos / "0.png", "--layers", "1,12", "--heads", "0,3",
        "--queries", "centre;cls;0,7", "-o", out, "--device", "cpu",
    )  # fmt: skip
    assert (outcome.status, outcome.out) == (0, f"figure: {out}\n"), outcome.err
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert out.read_bytes().startswith(begins[suffix])


def test_overlay_of_windows_and_of_a_rollout(mimprobe, photos, tmp_path):
    picture = photos / "1.png"
    rolled = tmp_path / "rollout.png"
    outcome = mimprobe("overlay", "a=simmim-tiny40", picture, "--rollout", "-o", rolled)
    assert outcome.status == 0, outcome.err
    assert rolled.is_file()
    again = mimprobe("overlay", "simmim-tiny40", picture, "-o", rolled)
    assert_one_line(again, "rollout.png is already there; pass --overwrite")
    swin = ("random:swin_tiny_patch4_window7_224", "--arch-args", '{"depths": [2, 2]}')
    windows = mimprobe(
        "overlay", *swin, picture, "--layers", "2", "--heads", "all", "-o", rolled, "--overwrite"
    )
    assert windows.status == 0, windows.err
    refused = mimprobe("overlay", *swin, picture, "--rollout", "-o", tmp_path / "x.png")
    assert_one_line(refused, "attends within windows")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--layers", "13"], "no attention in layer 13; choose 1 to 12"),
        (["--layers", "0"], "no attention in layer 0; choose 1 to 12"),
        (["--layers", "one"], "'one' is not a list of numbers such as 1,6,12"),
        (["--heads", "8"], "no head 8; choose 0 to 7"),
        (["--queries", "9,0"], "query 9,0 lies outside the grid of 8 x 8 patches"),
        (["--queries", "1,2,3"], "'1,2,3' is not ROW,COL"),
        (["--queries", "center"], "did you mean 'centre'?"),
        (["--rollout", "--heads", "all"], "--rollout joins all heads"),
        (["-o", "out.bmp"], "unknown format of a figure '.bmp'"),
    ],
)
def test_bad_input_of_overlay_is_refused_before_anything_is_written(
    photos, tmp_path, arguments, told
):
    typed = ["overlay", "simmim-tiny40", str(photos / "0.png"), "-o", str(tmp_path / "x.png")]
    outcome = CliRunner().invoke(group, [*typed, *arguments], standalone_mode=False)
    assert isinstance(outcome.exception, click.ClickException | MimprobeError)
    assert told in str(getattr(outcome.exception, "message", outcome.exception))
    assert not list(tmp_path.iterdir())


def test_receptive_writes_table_and_report(mimprobe, photos, tmp_path):
    out = tmp_path / "out"
    outcome = mimprobe(
        "receptive", "simmim-tiny40", "c=random:convnext_atto", "--images", photos, "-o", out,
        "--input-size", 64, "--limit", 3, "--layer", 2, "--kind", "c=supervised",
    )  # fmt: skip
    assert (outcome.status, outcome.out) == (0, f"report: {out / 'report.html'}\n"), outcome.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"].startswith("mimprobe receptive simmim-tiny40")
    assert manifest["images"]["n"] == 3
    lines = (out / "receptive_field.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * (64 * 64 + 4)
    assert {line.split(",")[3] for line in lines[1:]} == {"1"}
    assert (out / "figures" / "receptive_field.pdf").is_file()
    again = mimprobe("receptive", "simmim-tiny40", "--images", photos, "-o", out)
    assert_one_line(again, "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--layer", "13"], "has 12 layers, so there is no layer 13; choose 1 to 12"),
        (["--part", "negative"], "unknown part of the gradient 'negative'"),
    ],
)
def test_bad_input_of_receptive_is_refused(photos, tmp_path, arguments, told):
    typed = ["receptive", "simmim-tiny40", "--images", str(photos), "-o", str(tmp_path / "out")]
    outcome = CliRunner().invoke(group, [*typed, *arguments], standalone_mode=False)
    assert isinstance(outcome.exception, MimprobeError)
    assert told in str(outcome.exception)
    assert not list(tmp_path.iterdir())
