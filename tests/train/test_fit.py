"""Runs from start to end: learning, exact resumption, and what goes wrong."""

import json
import shutil

import pytest
import safetensors
import torch

from mimprobe.data.images import open_images
from mimprobe.errors import (
    ImageError,
    MimprobeError,
    OutputError,
)
from mimprobe.train import checkpoint
from mimprobe.train.fit import pretrain
from mimprobe.zoo.load import load_model


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("objective", ["simmim", "supervised"])
def test_a_run_learns_and_its_weights_load_without_further_words(
    objective, photos, make_config, tmp_path
):
    config = make_config(objective, epochs=8, drop_path=0.0, export_precision="float16")
    path = pretrain(photos, tmp_path / "run", config)
    found = losses(tmp_path / "run")
    assert len(found) == 8 * 3
    assert sum(found[-6:]) < 0.88 * sum(found[:6])
    loaded = load_model(path, device="cpu")
    assert loaded.kind == {"simmim": "mim", "supervised": "supervised"}[objective]
    assert loaded.preprocessing.input_size == (32, 32)
    with safetensors.safe_open(path, "pt") as file:
        document = json.loads(file.metadata()["mimprobe"])
        keys = set(file.keys())
    assert document["training"]["steps"] == 24
    assert document["training"]["images"] == 24
    if objective == "simmim":
        assert {"mask_token", "head.0.weight", "head.0.bias"} <= keys
        assert set(loaded.load_report.dropped) == {"mask_token", "head.0.weight", "head.0.bias"}
    else:
        assert document["classes"] == ["cats", "dogs"]
        assert loaded.module.num_classes == 2


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(photos, make_config, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain(photos, tmp_path / name, make_config(seed=seed))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_decoding_in_other_processes_changes_no_loss(photos, make_config, tmp_path):
    pretrain(photos, tmp_path / "a", make_config())
    pretrain(photos, tmp_path / "b", make_config(workers=2))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_a_folder_that_holds_something_else(photos, make_config, tmp_path):
    run = tmp_path / "run"
    pretrain(photos, run, make_config())
    with pytest.raises(OutputError, match="already holds a run; pass --resume"):
        pretrain(photos, run, make_config())
    with pytest.raises(OutputError, match=r"other settings \(seed 0 -> 4\)"):
        pretrain(photos, run, make_config(seed=4), resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="already holds other files"):
        pretrain(photos, tmp_path / "other", make_config(), resume=True)


def test_too_few_images_and_missing_classes(photos, make_config, tmp_path):
    with pytest.raises(ImageError, match="has 24 images, fewer than one batch of 64"):
        pretrain(photos, tmp_path / "run", make_config(batch_size=64))
    with pytest.raises(ImageError, match="has no class folders"):
        pretrain(photos / "cats", tmp_path / "run", make_config("supervised"))
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_a_gpu_learns_in_bfloat16(photos, make_config, tmp_path):
    config = make_config(epochs=8, device="cuda", drop_path=0.0)
    pretrain(photos, tmp_path / "run", config)
    found = losses(tmp_path / "run")
    assert sum(found[-6:]) < 0.88 * sum(found[:6])


def test_a_run_on_other_images_is_not_resumed(photos, make_config, tmp_path):
    pretrain(photos, tmp_path / "run", make_config())
    (tmp_path / "photos").symlink_to(photos)
    others = sorted(photos.glob("*/*.png"))[1:]
    with pytest.raises(OutputError, match="holds a run on other images; resume it on the same"):
        pretrain(open_images(others), tmp_path / "run", make_config(), resume=True)


@pytest.mark.parametrize("content", [b"", b"junk", b"[1, 2]"])
def test_damaged_settings_are_one_line(photos, make_config, tmp_path, content):
    pretrain(photos, tmp_path / "run", make_config(epochs=1))
    (tmp_path / "run" / checkpoint.CONFIG).write_bytes(content)
    with pytest.raises(OutputError, match="^the run in .* is damaged"):
        pretrain(photos, tmp_path / "run", make_config(epochs=1), resume=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arch": "vit_tiny_patch16_22"}, "unknown timm model 'vit_tiny_patch16_22'; did you mean"),
        ({"arch": "resnet18", "arch_args": {}}, "timm cannot build resnet18|is a ResNet"),
        ({"arch_args": {"foo": 1}}, "timm cannot build vit_tiny_patch16_224 with"),
        ({"input_size": 36}, "an input of 36 px does not divide into patches of 8 x 8 px"),
    ],
)
def test_networks_that_cannot_be_trained_leave_nothing(
    photos, make_config, tmp_path, changes, told
):
    with pytest.raises(MimprobeError, match=told):
        pretrain(photos, tmp_path / "run", make_config(**changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_line(photos, make_config, tmp_path, workers):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "cats" / "00.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"00\.png is not an image") as caught:
        pretrain(tmp_path / "photos", tmp_path / "run", make_config(workers=workers))
    assert "\n" not in str(caught.value)
