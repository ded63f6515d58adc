"""Fine-tuning from start to end: it learns, its weights load, it goes on exactly, any source."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

from mimprobe.data.images import open_images
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.train import augmentation as augmented_by
from mimprobe.train import log
from mimprobe.train.augmentation import augmentation
from mimprobe.train.engine import Engine
from mimprobe.train.evaluation import LabelledImages, evaluate
from mimprobe.train.finetune import finetune, finetuning_config
from mimprobe.train.fit import pretrain
from mimprobe.train.preprocessing import preprocessing_of
from mimprobe.zoo.load import load_model

TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
START = "random:vit_tiny_patch16_224"


def settings(**changes):
    usual = {
        "arch_args": TINY, "input_size": 32, "epochs": 2, "batch_size": 8, "warmup_epochs": 0.5,
        "base_learning_rate": 0.05, "device": "cpu",
    }  # fmt: skip
    return {**usual, **changes}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(folder):
    return [entry["loss"] for entry in lines(folder / "log.jsonl")]


def test_the_recipe_is_the_default_and_depends_on_the_network():
    config = finetuning_config(START, {"arch_args": TINY, "input_size": 32})
    recipe = {
        "base_learning_rate": 1.25e-3, "warmup_epochs": 20.0, "epochs": 100, "drop_path": 0.1,
        "layer_decay": 0.65, "auto_augment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4,
        "erasing": 0.25, "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "weight_decay": 0.05,
        "clip_norm": 5.0, "min_learning_rate": 2.5e-7, "warmup_learning_rate": 2.5e-7,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in recipe} == recipe
    assert (config.arch, config.input_size) == ("vit_tiny_patch16_224", 32)
    swin = finetuning_config("random:swin_tiny_patch4_window7_224", {"layer_decay": 0.9})
    assert (swin.layer_decay, swin.input_size) == (0.9, 224)
    assert finetuning_config("random:swin_tiny_patch4_window7_224", {}).layer_decay == 0.8
    with pytest.raises(UnknownNameError, match="unknown setting of fine-tuning 'mixups'; did you"):
        finetuning_config(START, {"mixups": 1.0})


def test_pretrained_weights_learn_classes_and_load_with_them(photos, make_config, tmp_path):
    start = pretrain(photos, tmp_path / "simmim", make_config())
    chosen = settings(
        epochs=10, auto_augment="", color_jitter=0.0, mixup=0.0, cutmix=0.0, erasing=0.0,
        drop_path=0.0, val=str(photos), arch_args={}, base_learning_rate=0.2, layer_decay=0.9,
    )  # fmt: skip
    path = finetune(start, photos, tmp_path / "run", chosen)
    found = losses(tmp_path / "run")
    assert len(found) == 30
    assert sum(found[-6:]) < 0.8 * sum(found[:6])
    evaluations = lines(tmp_path / "run" / "evaluations.jsonl")
    assert [entry["epoch"] for entry in evaluations] == list(range(1, 11))
    last = evaluations[-1]
    assert last["top1"] > 0.9
    assert last["top1_interval"][0] < last["top1"] <= last["top1_interval"][1]
    loaded = load_model(path, device="cpu")
    assert loaded.kind == "mim"
    assert loaded.module.num_classes == 2
    assert loaded.preprocessing.crop_pct == 0.875
    assert loaded.load_report.dropped == {}
    with safetensors.safe_open(path, "pt") as file:
        document = json.loads(file.metadata()["mimprobe"])
    assert document["classes"] == ["cats", "dogs"]
    assert document["training"]["evaluation"] == last
    again = finetune(path, photos, tmp_path / "again", settings(arch_args={}, val=str(photos)))
    assert load_model(again, device="cpu").module.num_classes == 2


def test_the_whole_recipe_learns(photos, tmp_path):
    finetune(START, photos, tmp_path / "run", settings(epochs=12, crop_scale=0.5))
    found = losses(tmp_path / "run")
    assert sum(found[-9:]) < 0.97 * sum(found[:9])
    shares = [entry["waiting"] for entry in lines(tmp_path / "run" / "log.jsonl")]
    assert all(0 <= share <= 1 for share in shares)


def test_rates_fall_from_layer_to_layer(photos, tmp_path, monkeypatch):
    seen = []

    class Watched(torch.optim.AdamW):
        def step(self, closure=None):
            seen.append([(group["lr"], group["lr_scale"]) for group in self.param_groups])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    finetune(START, photos, tmp_path / "run", settings(epochs=1, layer_decay=0.5))
    rates = [entry["learning_rate"] for entry in lines(tmp_path / "run" / "log.jsonl")]
    assert {scale for _, scale in seen[0]} == {1.0, 0.5, 0.25, 0.125}
    for rate, groups in zip(rates, seen, strict=True):
        assert all(own == rate * scale for own, scale in groups)


def test_neither_cache_nor_workers_change_a_loss(photos, tmp_path):
    for name, changes in (("on", {"cache": "on"}), ("off", {"cache": "off"}),
                          ("workers", {"workers": 2})):  # fmt: skip
        finetune(START, photos, tmp_path / name, settings(**changes))
    assert losses(tmp_path / "on") == losses(tmp_path / "off") == losses(tmp_path / "workers")


@pytest.mark.parametrize("stop", [2, 3])
def test_a_run_that_died_goes_on_bit_for_bit(photos, tmp_path, monkeypatch, stop):
    chosen = settings(val=str(photos), checkpoint_minutes=0.0)
    finetune(START, photos, tmp_path / "whole", chosen)
    take = Engine.take_step

    def take_until(engine, parts, step):
        if step == stop + 1:
            raise RuntimeError("killed")
        return take(engine, parts, step)

    monkeypatch.setattr(Engine, "take_step", take_until)
    with pytest.raises(RuntimeError, match="killed"):
        finetune(START, photos, tmp_path / "killed", chosen)
    monkeypatch.undo()
    path = finetune(START, photos, tmp_path / "killed", chosen, resume=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    for one, other in zip(*(lines(tmp_path / name / "evaluations.jsonl")
                            for name in ("killed", "whole")), strict=True):  # fmt: skip
        assert one == other
    one, other = (load_model(tmp_path / name / "model.safetensors", device="cpu").module
                  for name in ("killed", "whole"))  # fmt: skip
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert path == tmp_path / "killed" / "model.safetensors"


def test_an_evaluation_beyond_the_checkpoint_is_taken_again(tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    for step in (3, 6):
        log.append_evaluation(tmp_path, step, step // 3, {"top1": 0.5})
    log.cut_log(tmp_path, 5)
    assert [entry["step"] for entry in lines(tmp_path / "evaluations.jsonl")] == [3]
    assert log.last_evaluation(tmp_path)["epoch"] == 1


@pytest.mark.parametrize("kind", ["folders", "cls"])
def test_tar_files_and_shards_are_labelled_images(photos, tmp_path, kind):
    def add(file, name, content):
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))

    with tarfile.open(tmp_path / "photos.tar", "w") as file:
        for path in sorted(photos.glob("*/*.png")):
            label = path.parent.name
            if kind == "folders":
                add(file, f"{label}/{path.name}", path.read_bytes())
            else:
                add(file, f"{label}-{path.stem}.png", path.read_bytes())
                add(file, f"{label}-{path.stem}.cls", label.encode())
    source = f"{'wds:' if kind == 'cls' else ''}{tmp_path / 'photos.tar'}"
    finetune(START, source, tmp_path / "tar", settings(val=source))
    finetune(START, photos, tmp_path / "folder", settings(val=str(photos)))
    assert losses(tmp_path / "tar") == losses(tmp_path / "folder")
    one, other = (log.last_evaluation(tmp_path / name) for name in ("tar", "folder"))
    assert one == other


def test_augmentations_that_timm_does_not_know(photos, tmp_path):
    with pytest.raises(OptionError, match="timm knows no auto_augment 'rand-x9'; try rand-m9"):
        finetune(START, photos, tmp_path / "run", settings(auto_augment="rand-x9"))


def test_a_start_that_takes_no_square_images(monkeypatch):
    from mimprobe.train import finetune as module

    loaded = load_model(START, arch_args=TINY, device="cpu")
    wide = replace(loaded, preprocessing=replace(loaded.preprocessing, input_size=(32, 64)))
    monkeypatch.setattr(module, "load_model", lambda *_, **__: wide)
    with pytest.raises(OptionError, match="takes no square images; pass input_size"):
        finetuning_config(START, {})


def test_timms_highest_level_of_posterize():
    """It asks for no bits at all, which Pillow refuses."""
    image = Image.linear_gradient("L").convert("RGB")
    for bits in (1, 4):
        expected = np.array(image) & (256 - 2 ** (8 - bits))
        np.testing.assert_array_equal(np.array(augmented_by._posterized(image, bits)), expected)
    assert not np.array(augmented_by._posterized(image, 0)).any()
    chosen = {"arch_args": TINY, "input_size": 32, "auto_augment": "rand-m10-n6-inc1"}
    config = finetuning_config(START, chosen)
    augment = augmentation(config, preprocessing_of(torch.nn.Identity(), config))
    for seed in range(40):  # two of three draw it
        assert augment(image, np.random.default_rng(seed)).shape == (3, 32, 32)


def test_the_warm_up_of_short_runs_is_a_fifth():
    chosen = {"arch_args": TINY, "input_size": 32}
    assert finetuning_config(START, {**chosen, "epochs": 10}).warmup_epochs == 2.0
    assert finetuning_config(START, {**chosen, "epochs": 300}).warmup_epochs == 20.0
    assert (
        finetuning_config(START, {**chosen, "epochs": 10, "warmup_epochs": 5.0}).warmup_epochs == 5
    )


def test_what_is_evaluated_is_what_is_exported(photos, tmp_path):
    chosen = settings(val=str(photos), ema_decay=0.99, export_average=True)
    path = finetune(START, photos, tmp_path / "run", chosen)
    loaded = load_model(path, device="cpu")
    opened = open_images(photos)
    number = {name: place for place, name in enumerate(sorted(set(opened.labels)))}
    labelled = LabelledImages(
        opened, [number[name] for name in opened.labels], loaded.preprocessing
    )
    config = finetuning_config(START, chosen)
    found = evaluate(loaded.module, labelled, config, torch.device("cpu")).describe()
    last = lines(tmp_path / "run" / "evaluations.jsonl")[-1]
    assert found["loss"] == pytest.approx(last["loss"], abs=1e-6)


def test_a_refused_start_leaves_nothing_in_the_way(photos, tmp_path):
    with pytest.raises(OptionError, match="timm knows no auto_augment 'foo'"):
        finetune(START, photos, tmp_path / "run", settings(auto_augment="foo"))
    with pytest.raises(OptionError, match="mixup and cutmix pair images"):
        finetune(START, photos, tmp_path / "run", settings(batch_size=6, accumulate=2))
    finetune(START, photos, tmp_path / "run", settings(epochs=1))
