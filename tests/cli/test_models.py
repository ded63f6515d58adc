"""`mimprobe models`, and the paper's comparison on stand-ins of the real files."""

import json
import re
import shutil

import pytest
import timm
import torch

from mimprobe.zoo.shelf import bundled_directory, find_card

COMPARED = ("simmim_vit_base", "moco_v3_vit_base", "deit_base")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Cards of the paper's comparison, at two blocks and without checksums, and an empty cache."""
    cards, cache = tmp_path / "cards", tmp_path / "cache"
    cards.mkdir()
    cache.mkdir()
    for name in COMPARED:
        text = (bundled_directory() / f"{name}.toml").read_text(encoding="utf-8")
        text = re.sub(r"^checksum.*\n|^parameters.*\n", "", text, flags=re.MULTILINE)
        (cards / f"{name}.toml").write_text(
            text.replace("arguments = { ", "arguments = { depth = 2, ")
        )
    monkeypatch.setenv("MIMPROBE_CARDS", str(cards))
    monkeypatch.setenv("MIMPROBE_CACHE", str(cache))
    monkeypatch.setenv("MIMPROBE_OFFLINE", "1")
    return cache


def write_stand_ins(cache):
    """Write files with the keys and nesting of the real ones."""
    torch.manual_seed(0)
    networks = {
        name: timm.create_model(card.architecture, **card.arguments)
        for name in COMPARED
        for card in [find_card(name)]
    }
    states = {name: network.state_dict() for name, network in networks.items()}
    simmim = {f"encoder.{key}": value for key, value in states["simmim_vit_base"].items()}
    simmim |= {
        "encoder.mask_token": torch.zeros(1, 1, 768),
        "encoder.rel_pos_bias.relative_position_index": torch.zeros(197, 197, dtype=torch.int64),
        "decoder.0.weight": torch.zeros(768, 768, 1, 1), "decoder.0.bias": torch.zeros(768),
    }  # fmt: skip
    moco = {
        f"module.{network}.{key}": value
        for network in ("base_encoder", "momentum_encoder")
        for key, value in states["moco_v3_vit_base"].items()
    }
    moco |= {"module.base_encoder.head.0.weight": torch.zeros(4096, 768)}
    files = {
        "simmim_vit_base": {"model": simmim, "epoch": 799, "optimizer": {"state": {}}},
        "moco_v3_vit_base": {"epoch": 300, "arch": "vit_base", "state_dict": moco},
        "deit_base": {"model": states["deit_base"]},
    }
    for name, content in files.items():
        torch.save(content, cache / find_card(name).weights.file)


def rows(text):
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def test_the_comparison_of_the_paper(shelf, mimprobe, photos, tmp_path):
    arguments = ["compare", *COMPARED, "--images", photos, "-o", tmp_path / "out", "--limit", 4]
    missing = mimprobe(*arguments)
    assert missing.status == 2
    assert "https://drive.google.com/file/d/1dJn6GYkwMIcoP3zqOEyW1_iQfpBi8UOw" in missing.err
    assert str(shelf / "simmim_pretrain__vit_base__img224__800ep.pth") in missing.err
    assert len(missing.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert "to download" in rows(mimprobe("models", "list").out)["deit_base"]

    write_stand_ins(shelf)
    done = mimprobe(*arguments)
    assert done.status == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    found = {model["name"]: model for model in manifest["models"]}
    assert {name: model["kind"] for name, model in found.items()} == {
        "simmim_vit_base": "mim", "moco_v3_vit_base": "contrastive", "deit_base": "supervised",
    }  # fmt: skip
    report = found["simmim_vit_base"]["load_report"]
    assert report["missing"] == {}
    assert report["unexpected"] == []
    assert report["dropped"]["encoder.mask_token"].startswith("mask token of the pre-training")
    assert report["renamed"]["encoder.cls_token"] == "cls_token"
    assert found["moco_v3_vit_base"]["heads"] == [12, 12]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "mask token of the pre-training" in page
    assert "in the cache" in rows(mimprobe("models", "list").out)["deit_base"]


def test_list_tells_everything_at_a_glance(mimprobe):
    listed = mimprobe("models", "list")
    assert listed.status == 0, listed.err
    found = rows(listed.out)
    line = found["mae_vit_large"]
    for words in ("mim", "vit_large_patch16_224", "303.3", "facebookresearch/mae", "CC BY-NC 4.0"):
        assert words in line
    assert "bundled" in found["simmim-tiny40"]
    assert "to convert yourself" in found["simclr_resnet50_2x"]


def test_show_tells_everything(mimprobe):
    shown = mimprobe("models", "show", "moco_v3_vit_small")
    assert shown.status == 0, shown.err
    for words in (
        "https://dl.fbaipublicfiles.com/moco-v3/vit-s-300ep/vit-s-300ep.pth.tar",
        "num_heads: 12", "CC BY-NC 4.0", "https://arxiv.org/abs/2104.02057", "mean: 0.485",
        "value: 73.2", "21,665,664",
    ):  # fmt: skip
        assert words in shown.out


def test_check_says_what_a_file_is_and_what_it_cannot_know(mimprobe, tmp_path):
    network = timm.create_model("vit_small_patch16_224", depth=1, num_classes=0)
    torch.save({"model": network.state_dict(), "epoch": 7}, tmp_path / "mine.pth")
    open_question = mimprobe("models", "check", tmp_path / "mine.pth")
    assert open_question.status == 2
    assert "open, see below" in open_question.out
    assert '{"num_heads": 6}' in open_question.err
    answered = mimprobe("models", "check", tmp_path / "mine.pth", "--arch-args", '{"num_heads": 6}')
    assert answered.status == 0, answered.err
    assert "it would load whole: 18 tensors matched" in answered.out
    assert "epoch: " in answered.out
    assert "ImageNet's mean and standard deviation" in answered.out


def test_fetch_takes_a_file_that_a_browser_has_downloaded(shelf, mimprobe, tmp_path):
    write_stand_ins(shelf)
    name = find_card("deit_base").weights.file
    shutil.move(shelf / name, tmp_path / "download.pth")
    taken = mimprobe("models", "fetch", "deit_base", "--from", tmp_path / "download.pth")
    assert (taken.status, taken.out) == (0, f"deit_base: {shelf / name}\n"), taken.err
    again = mimprobe("models", "fetch", "deit_base")
    assert (again.status, again.out) == (0, f"deit_base: {shelf / name}\n")
    two = mimprobe("models", "fetch", "deit_base", "moco_v3_vit_base", "--from", "x.pth")
    assert two.status == 2
    assert "--from gives one file, but 2 checkpoints are named" in two.err


def test_cards_of_ones_own(mimprobe, tmp_path):
    text = (bundled_directory() / "deit_tiny.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('name = "deit_tiny"', 'name = "mine"'))
    listed = mimprobe("models", "list", "--cards", tmp_path)
    assert "mine" in rows(listed.out)
    assert "mine" not in rows(mimprobe("models", "list").out)
    missing = mimprobe("models", "list", "--cards", tmp_path / "none")
    assert missing.status == 2
    assert "no folder of cards at" in missing.err
