"""Every command on real files, and one clear line for every kind of bad input."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from unittest.mock import Mock

import pytest
import torch
from click.testing import CliRunner

from mimprobe.__main__ import main as command_main
from mimprobe.cli import COMMANDS, group

TWO = ("simmim-tiny40", "random:simmim-tiny40")


def assert_one_line(outcome, *told):
    """Exit code 2, nothing on standard output, one line on standard error that says all of it."""
    assert outcome.status == 2, outcome.err
    assert outcome.out == ""
    lines = [line for line in outcome.err.splitlines() if "warning" not in line]
    assert len(lines) == 1, outcome.err
    for words in told:
        assert words in lines[0]
    assert "Traceback" not in outcome.err


@pytest.fixture(scope="module")
def compared(mimprobe, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "out"
    outcome = mimprobe("compare", *TWO, "--images", photos, "-o", folder, "--device", "cpu")
    return folder, outcome


def test_compare_writes_the_whole_report(compared):
    folder, outcome = compared
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"report: {folder / 'report.html'}\n"
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "figures", "manifest.json", "per_image.npz", "cka.csv"} <= names
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["command"].startswith("mimprobe compare simmim-tiny40 random:simmim-tiny40")
    assert [model["kind"] for model in manifest["models"]] == ["mim", "untrained"]
    assert manifest["images"]["n"] == 6


def test_an_earlier_result_is_not_overwritten_without_asking(compared, mimprobe, photos):
    folder, _ = compared
    before = (folder / "manifest.json").read_bytes()
    outcome = mimprobe("compare", *TWO, "--images", photos, "-o", folder)
    assert_one_line(outcome, "already holds another result", "--overwrite")
    assert (folder / "manifest.json").read_bytes() == before


def test_claims_are_judged_from_the_folder(compared, mimprobe, tmp_path):
    folder, _ = compared
    outcome = mimprobe("claims", folder)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split()[:3] == ["claim", "verdict", "models"]
    (judged,) = [line for line in lines if "simmim-tiny40" in line]
    assert "undecided" in judged
    assert "6 images have values, and a verdict needs at least 16" in judged
    without = [line for line in lines if "no supervised model" in line]
    assert len(without) == 3
    assert "about these checkpoints" in lines[-1]
    assert {"claims.csv", "differences.csv"} <= {path.name for path in folder.iterdir()}
    assert_one_line(mimprobe("claims", tmp_path / "none"), "no result folder")


def test_probe_and_report_are_the_two_halves(mimprobe, photos, tmp_path):
    out = tmp_path / "out"
    first = mimprobe(
        "probe", "a=simmim-tiny40", "b=random:vit_tiny_patch16_224", "--images", photos, "-o", out,
        "--analyzers", "attention_distance,head_kl", "--kind", "a=supervised", "--limit", 4,
    )  # fmt: skip
    assert (first.status, first.out) == (0, f"tables: {out}\n"), first.err
    assert {p.name for p in out.glob("*.csv")} == {"attention_distance.csv", "head_kl.csv"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert [(m["name"], m["kind"]) for m in manifest["models"]] == [
        ("a", "supervised"), ("b", "untrained"),
    ]  # fmt: skip
    assert manifest["images"]["n"] == 4
    second = mimprobe("report", out)
    assert (second.status, second.out) == (0, f"report: {out / 'report.html'}\n"), second.err
    assert_one_line(mimprobe("report", out), "--overwrite")
    assert mimprobe("report", out, "--overwrite").status == 0


def test_pretrain_gives_a_model_for_compare(mimprobe, photos, tmp_path):
    run = tmp_path / "run"
    arguments = [
        "pretrain", "simmim", photos, "-o", run, "--arch", "vit_tiny_patch16_224", "--arch-args",
        '{"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}', "--input-size", 32,
        "--epochs", 2, "--batch-size", 3, "--mask-patch", 16, "--warmup-epochs", 0.5,
    ]  # fmt: skip
    outcome = mimprobe(*arguments)
    weights = run / "model.safetensors"
    assert (outcome.status, outcome.out) == (0, f"weights: {weights}\n"), outcome.err
    assert_one_line(mimprobe(*arguments), "already holds a run; pass --resume")
    out = tmp_path / "out"
    compared = mimprobe("compare", f"mine={weights}", "--images", photos, "-o", out)
    assert compared.status == 0, compared.err


def test_cka_has_its_own_options(mimprobe, photos, tmp_path):
    out = tmp_path / "out"
    options = ("--analyzers", "cka", "--cka-tokens", "flattened", "--cka-stage", 2)
    models = ("random:resnet10t", "simmim-tiny40")
    outcome = mimprobe("probe", *models, "--images", photos, "-o", out, *options)
    assert outcome.status == 0, outcome.err
    described = json.loads((out / "manifest.json").read_text())["analyzers"]["cka"]
    assert (described["tokens"], described["stage"], described["batch"]) == ("flattened", 1, 64)
    sites = {line.split(",")[2] for line in (out / "cka.csv").read_text().splitlines()[1:]}
    assert sites == {"stages.1.blocks.0.out", *(f"blocks.{layer}.out" for layer in range(12))}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"--cka-stage": "9", "models": ["random:resnet10t"]}, ["has 4 stages", "--cka-stage 9"]),
        ({"models": ["simmim-tiny4"]}, ["unknown model 'simmim-tiny4'; did you mean"]),
        ({"models": ["random:resnet5"]}, ["unknown timm model 'resnet5'; did you mean"]),
        ({"models": ["none.pth"]}, ["none.pth"]),
        ({"models": ["random:xcit_nano_12_p16_224"]}, ["is of no family", "VisionTransformer"]),
        ({"images": "nowhere"}, ["nowhere"]),
        ({"--analyzers": "ckaa"}, ["unknown analyzer 'ckaa'; did you mean 'cka'?"]),
        ({"--device": "cuda:7"}, ["device 'cuda:7' is not on this machine"]),
        ({"--precision": "fp8"}, ["unknown precision 'fp8'"]),
        ({"--kind": "x=mim"}, ["unknown model 'x'"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(mimprobe, photos, tmp_path, change, told):
    settings = {"models": list(TWO), "images": photos} | change
    out = tmp_path / "out"
    options = [
        item for key, value in change.items() if key.startswith("-") for item in (key, value)
    ]
    outcome = mimprobe(
        "compare", *settings["models"], "--images", settings["images"], "-o", out, *options,
        cwd=tmp_path,
    )  # fmt: skip
    assert_one_line(outcome, *told)
    assert not out.exists()


class Evil:
    def __reduce__(self):
        return os.system, ("touch was-here",)


def test_bad_files_are_one_line(mimprobe, photos, tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-30])
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name, told in (
        ("whole.pth", "does not fit the architecture"), ("cut.pth", "not a whole PyTorch file"),
        ("evil.pth", "can run code"),
    ):  # fmt: skip
        outcome = mimprobe(
            "compare", name, "--arch", "vit_tiny_patch16_224", "--images", photos, "-o", "out",
            cwd=tmp_path,
        )  # fmt: skip
        assert_one_line(outcome, name, told)
    assert not (tmp_path / "was-here").exists()
    assert not (tmp_path / "out").exists()


def test_bad_images_stop_or_are_skipped_and_recorded(mimprobe, photos, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:300])
    arguments = ["probe", "simmim-tiny40", "--images", folder, "-o", tmp_path / "out"]
    assert_one_line(mimprobe(*arguments), "3.png")
    assert not (tmp_path / "out").exists()
    outcome = mimprobe(*arguments, "--skip-bad-images")
    assert outcome.status == 0, outcome.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [skipped["image"] for skipped in manifest["images"]["skipped"]] == ["3.png"]


HALFWAY = """
import pathlib, signal, sys, time
import mimprobe.loop.showing as showing
from mimprobe.__main__ import main
real, sign = showing.batches, pathlib.Path(sys.argv.pop())

def halfway(*arguments, **options):
    for batch in real(*arguments, **options):
        yield batch
        sign.touch()
        time.sleep(60)

showing.batches = halfway
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are born deaf to it
main()
"""
"""The command, which tells when it has measured one batch and then waits."""


def test_interrupting_leaves_no_result(photos, tmp_path):
    out, sign = tmp_path / "out", tmp_path / "measured one batch"
    process = subprocess.Popen(
        [sys.executable, "-c", HALFWAY, "compare", *TWO, "--images", str(photos), "-o", str(out),
         "--batch-size", "1", str(sign)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not sign.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.strip() == (
        "mimprobe: interrupted; what stands without a manifest.json is no result"
    )
    assert not (out / "manifest.json").exists()


def test_every_command_is_documented_with_an_example():
    for command in COMMANDS:
        text = CliRunner().invoke(group, [command.name, "--help"]).output
        assert len(command.help or "") > 20
        leaves = command.commands.values() if hasattr(command, "commands") else [command]
        for leaf in leaves:
            assert "Example: mimprobe" in (leaf.epilog or ""), leaf.name
        assert "Usage" in text


def test_a_full_disk_is_told_with_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mimprobe", "models", "list"])
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/a.csv")
    monkeypatch.setattr("mimprobe.__main__.group.main", Mock(side_effect=full))
    with pytest.raises(SystemExit, match="2"):
        command_main()
    told = capsys.readouterr().err
    assert told.startswith("mimprobe: No space left on device (out/a.csv); make room, or write")
    assert told.count("\n") == 1
