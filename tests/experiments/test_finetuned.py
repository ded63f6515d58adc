"""Fine-tuning of changed networks: what is trained is the changed network, by the recipe."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

from mimprobe.data.images import open_images
from mimprobe.errors import ImageError, OptionError, OutputError
from mimprobe.experiments.finetuned import finetuned_correct
from mimprobe.models.surgery import (
    drop_block,
    drop_last,
    mask_heads,
    permute_blocks,
    reinitialise_block,
    swap_blocks,
)
from mimprobe.train.engine import Engine
from mimprobe.train.finetune import finetune
from mimprobe.train.objectives import Finetune
from mimprobe.zoo.load import load_model

PLAIN = ("random:vit_tiny_patch16_224",
         {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}, 32)  # fmt: skip
SWIN = ("random:swin_tiny_patch4_window7_224",
        {"embed_dim": 12, "depths": (2, 4), "num_heads": (2, 2), "window_size": 4}, 64)  # fmt: skip
SETTINGS = {"batch_size": 6, "base_learning_rate": 0.05, "device": "cpu"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve images of two classes: dark and bright."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name, colour in (("dark", 60), ("bright", 190)):
        (folder / name).mkdir()
        for number in range(6):
            pixels = np.clip(draw.normal(colour, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return open_images(folder)


@pytest.fixture
def model():
    reference, arguments, size = PLAIN
    return load_model(reference, arch_args=arguments, input_size=size, device="cpu")


@pytest.fixture
def tried(model, photos, tmp_path):
    """Fine-tune for an epoch on the images and try on them."""

    def run(module, name="run", seed=0, epochs=1, loaded=model, **settings):
        return finetuned_correct(
            loaded, module, photos, photos, tmp_path / name, seed=seed, epochs=epochs,
            settings={**SETTINGS, **settings},
        )  # fmt: skip

    return run


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def watched(monkeypatch):
    """Keep the encoder of each run as it is before its first step."""
    seen = []
    take = Engine.take_step

    def take_first(engine, parts, step):
        if step == 0:
            seen.append(copy.deepcopy(engine.model.encoder))
        return take(engine, parts, step)

    monkeypatch.setattr(Engine, "take_step", take_first)
    return seen


CHANGES = {
    "nothing": lambda module: module,
    "swap": lambda module: swap_blocks(module, 0, 3),
    "permute": lambda module: permute_blocks(module, 3, seed=1),
    "reset": lambda module: reinitialise_block(module, 1, seed=2),
    "drop": lambda module: drop_block(module, 1),
    "drop last": lambda module: drop_last(module, 3),
    "heads": lambda module: mask_heads(module, {2: [0, 1]}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_training_starts_from_the_changed_network(model, tried, watched, tmp_path, change):
    changed = CHANGES[change](model.module)
    before = copy.deepcopy(model.module.state_dict())
    found = tried(changed)
    assert found.shape == (12,)
    assert found.dtype == torch.bool
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = watched[0].eval().forward_features(images)
        # The new classifier's norm comes after pooling, in place of the last one of the tokens.
        torch.testing.assert_close(
            torch.nn.functional.layer_norm(tokens, (24,), eps=1e-6),
            changed.forward_features(images),
        )
    after = model.module.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    loadable = change in ("nothing", "swap", "permute", "reset")
    assert (tmp_path / "run" / "model.safetensors").exists() == loadable


def test_without_a_change_it_is_finetuning_itself(model, photos, tried, tmp_path):
    found = tried(model.module, epochs=2)
    settings = {
        **SETTINGS,
        "arch_args": PLAIN[1],
        "input_size": 32,
        "epochs": 2,
        "val": photos.source,
    }
    finetune(PLAIN[0], photos, tmp_path / "plain", settings)
    assert losses(tmp_path / "plain") == losses(tmp_path / "run")
    last = json.loads((tmp_path / "plain" / "evaluations.jsonl").read_text().splitlines()[-1])
    assert found.double().mean().item() == last["top1"]


def test_it_learns_and_says_which_images_are_right(model, tried):
    plain = {"auto_augment": "", "color_jitter": 0.0, "mixup": 0.0, "cutmix": 0.0, "erasing": 0.0,
             "base_learning_rate": 0.5, "layer_decay": 1.0, "drop_path": 0.0, "crop_scale": 0.9,
             "warmup_epochs": 1.0}  # fmt: skip
    assert tried(drop_last(model.module, 2), epochs=12, **plain).all()


def test_the_seed_decides(model, tried, tmp_path):
    changed = swap_blocks(model.module, 1, 2)
    one, same = tried(changed, "one", 1), tried(changed, "same", 1)
    assert torch.equal(one, same)
    tried(changed, "other", 2)
    assert losses(tmp_path / "one") == losses(tmp_path / "same") != losses(tmp_path / "other")


def test_masked_heads_stay_masked(model, photos, tmp_path, monkeypatch):
    built = []
    start = Finetune.__init__

    def keep(self, *arguments):
        start(self, *arguments)
        built.append(self)

    monkeypatch.setattr(Finetune, "__init__", keep)
    changed = mask_heads(model.module, {2: [0, 1, 2]})
    finetuned_correct(
        model, changed, photos, photos, tmp_path / "run", seed=0, epochs=1, settings=SETTINGS
    )
    tuned = built[0].encoder.eval()
    seen = []
    tuned.blocks[2].attn.proj.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    tuned(torch.randn(2, 3, 32, 32))
    assert not seen[0].any()


def test_a_whole_stage_of_swin_can_be_dropped(photos, tried, watched):
    reference, arguments, size = SWIN
    loaded = load_model(reference, arch_args=arguments, input_size=size, device="cpu")
    found = tried(drop_last(loaded.module, 4), loaded=loaded)
    assert found.shape == (12,)
    left = {name.split(".")[1] for name, _ in watched[0].named_parameters() if ".blocks." in name}
    assert left == {"0"}


def test_what_cannot_be_done_is_said_before_the_run(model, photos, tried, tmp_path):
    with pytest.raises(OptionError) as error:
        tried(model.module, seed=0, epochs=1, input_size=64)
    assert str(error.value) == (
        "input_size cannot be a setting of this fine-tuning: the network, the images and the other "
        "arguments decide it"
    )
    lone = open_images(photos.source + "/dark")
    with pytest.raises(ImageError, match="has no class folders, and no labels"):
        finetuned_correct(
            model, model.module, photos, lone, tmp_path / "run", seed=0, epochs=1, settings=SETTINGS
        )
    assert not (tmp_path / "run").exists()
    tried(model.module)
    with pytest.raises(OutputError, match="already holds a run"):
        tried(model.module)
