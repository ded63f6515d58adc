"""`mimprobe finetune` as a user runs it: the result, the accuracy, and one line for bad input."""

import json
import re

import numpy as np
import pytest
from PIL import Image

TINY = '{"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}'


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    draw = np.random.default_rng(0)
    for name, colour in (("dark", 60), ("light", 190)):
        (folder / name).mkdir()
        for number in range(6):
            pixels = np.clip(draw.normal(colour, 40, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def arguments(classes, run, *more):
    return (
        "finetune", "random:vit_tiny_patch16_224", classes, "--val", classes, "-o", run,
        "--arch-args", TINY, "--input-size", 32, "--epochs", 2, "--batch-size", 4,
        "--warmup-epochs", 0.5, "--device", "cpu", *more,
    )  # fmt: skip


def test_the_result_is_a_model_and_its_accuracy_is_told(mimprobe, classes, tmp_path):
    run = tmp_path / "run"
    outcome = mimprobe(*arguments(classes, run))
    assert outcome.status == 0, outcome.err
    first, second = outcome.out.splitlines()
    assert first == f"weights: {run / 'model.safetensors'}"
    share = r"\d+\.\d% \(\d+\.\d% to \d+\.\d%\)"
    assert re.fullmatch(rf"top-1 {share}, top-5 100\.0% \(75\.8% to 100\.0%\) of 12 images", second)
    config = json.loads((run / "config.json").read_text())
    assert (config["layer_decay"], config["mixup"]) == (0.65, 0.8)
    again = mimprobe(*arguments(classes, run, "--resume"))
    assert (again.status, again.out) == (0, outcome.out), again.err
    shown = mimprobe("models", "check", run / "model.safetensors")
    assert shown.status == 0, shown.err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--batch-size", 13), "choose an even batch_size, not 13"),
        (("--mixup", 0, "--cutmix", 0, "--batch-size", 13), "12 images, fewer than one batch of"),
        (("--warmup-epochs", 3), "a warm-up of 3 epochs does not fit into 2 epochs"),
        (("--layer-decay", 2), "layer_decay must be above 0 and at most 1, not 2.0"),
        (("--cache", "on", "--cache-memory", 0), "cache_memory must be at least 1, not 0"),
        (("--val", "nowhere"), "no image folder at nowhere"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(mimprobe, classes, tmp_path, more, told):
    outcome = mimprobe(*arguments(classes, tmp_path / "run", *more))
    assert (outcome.status, outcome.out) == (2, "")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert told in outcome.err
    assert not (tmp_path / "run").exists()
