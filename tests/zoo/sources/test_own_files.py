"""Files of mimprobe's trainer: the numbers of a plain ViT, and metadata of every sorry kind."""

import json

import pytest
import safetensors.torch
import torch
from zoo.sources import plain_vit
from zoo.sources.made_files import (
    assert_same_output,
    assert_same_tokens,
    images,
    inside,
    load,
    numbers,
    write,
    write_card,
)
from zoo.sources.vit_formats import under, vit

from mimprobe.errors import CheckpointError, MimprobeError
from mimprobe.train.checkpoint import export_weights
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives import OBJECTIVES

SIDE, CLASSES = 16, ["ant", "bee", "cow"]
ARGUMENTS = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4}


def trained(path, objective, precision="float32"):
    """Let the trainer write an encoder with made-up numbers; give back what was in it."""
    config = TrainConfig(
        objective, "vit_tiny_patch16_224", SIDE, arch_args=ARGUMENTS, mask_patch=8,
        export_precision=precision,
    )  # fmt: skip
    classes = CLASSES if objective == "supervised" else []
    model = OBJECTIVES[objective](config, classes)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state = {name: tensor.half().float() for name, tensor in numbers(shapes).items()}
    model.load_state_dict(state)
    export_weights(path, model, config, facts={"steps": 3}, classes=classes)
    return state


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("objective", ["simmim", "supervised"])
def test_a_file_of_the_trainer(tmp_path, objective, precision):
    path = tmp_path / "model.safetensors"
    state = trained(path, objective, precision)
    loaded = load(path)
    plain = inside(state, "encoder.")
    tokens = plain_vit.vit(plain, images(SIDE), heads=4)
    assert_same_tokens(loaded, images(SIDE), tokens)
    kind = "mim" if objective == "simmim" else "supervised"
    assert (loaded.kind, loaded.load_report.converter) == (kind, "mimprobe")
    assert loaded.preprocessing.input_size == (SIDE, SIDE)
    outside = {name for name in state if not name.startswith("encoder.")}
    assert set(loaded.load_report.dropped) == outside
    assert bool(outside) == (objective == "simmim")
    if objective == "supervised":
        output = plain_vit.affine(tokens[:, 0], plain, "head")
        assert_same_output(loaded, images(SIDE), output)


def test_a_file_of_the_trainer_by_card(tmp_path, monkeypatch):
    monkeypatch.setenv("MIMPROBE_CARDS", str(tmp_path))
    state = trained(tmp_path / "made.safetensors", "simmim")
    write_card(
        tmp_path, "made", file="made.safetensors", architecture="vit_tiny_patch16_224", heads=4,
        prefix=1, converter="mimprobe", side=SIDE, top_key=None,
        arguments=ARGUMENTS | {"img_size": SIDE, "num_classes": 0},
    )  # fmt: skip
    expected = plain_vit.vit(inside(state, "encoder."), images(SIDE), heads=4)
    assert_same_tokens(load("made"), images(SIDE), expected)


def test_the_trainers_checkpoint_is_refused_with_what_to_do(tmp_path):
    """It does not say its architecture; the file of the end of the run does."""
    state = trained(tmp_path / "model.safetensors", "simmim")
    path = write(tmp_path / "checkpoint.pt", {"step": 3, "model": state, "optimizer": {}})
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_prefix_inside_a_name_stays(tmp_path):
    state = numbers(under("encoder.", vit(width=24, depth=2, grid=2, patch=8)))
    document = read(trained_file(tmp_path))
    state["encoder.encoder.x"] = torch.ones(1)
    path = write_document(tmp_path / "w.safetensors", state, document)
    with pytest.raises(CheckpointError, match=r"1 unexpected in the file: encoder\.x"):
        load(path)


def trained_file(folder):
    path = folder / "model.safetensors"
    trained(path, "simmim")
    return path


def read(path):
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["mimprobe"])


def write_document(path, state, document):
    text = document if isinstance(document, str) else json.dumps(document)
    safetensors.torch.save_file(state, path, {"mimprobe": text})
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    path = trained_file(folder)
    loaded = load(path)
    x = images(SIDE).float()
    with torch.no_grad():
        output = loaded.module.forward_features(x)
    return folder, safetensors.torch.load_file(path), read(path), x, output


VALUES = ("REMOVED", None, 3, -1, 0, 1.5, "", "none", [], [1], {}, {"a": 1}, True, [0.5] * 3,
          {"num_heads": 0}, {"depth": -1}, [0, 0], 10**30)  # fmt: skip
PLACES = [
    *[("", key) for key in ("arch", "arch_args", "kind", "preprocessing", "format")],
    *[("arch_args", key) for key in (*ARGUMENTS, "img_size", "num_classes")],
    *[("preprocessing", key) for key in ("input_size", "mean", "std", "crop_pct", "interpolation")],
]


@pytest.mark.parametrize(("section", "key"), PLACES)
def test_one_fault_in_the_metadata(good, section, key):
    """Each value in each place: the same numbers, or one line with the file's name."""
    folder, state, document, x, output = good
    told = []
    for value in VALUES:
        changed = json.loads(json.dumps(document))
        holder = changed[section] if section else changed
        holder |= {key: value}
        if value == "REMOVED":
            del holder[key]
        path = write_document(folder / "w.safetensors", state, changed)
        try:
            loaded = load(path)
        except MimprobeError as error:
            told.append(str(error))
            continue
        if key not in ("num_heads", "arch_args"):  # which no shape tells: as the file says
            with torch.no_grad():
                found = loaded.module.forward_features(x)
            torch.testing.assert_close(found, output, rtol=0, atol=0)
    assert all(str(path) in line and "\n" not in line for line in told)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"arch": ', "[" * 3000])
def test_metadata_that_are_no_document(good, text):
    folder, state, *_ = good
    path = write_document(folder / "w.safetensors", state, text)
    with pytest.raises(MimprobeError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_kind_of_training_is_refused(good):
    folder, state, document, *_ = good
    path = write_document(folder / "w.safetensors", state, {**document, "kind": "mimm"})
    with pytest.raises(CheckpointError, match="mimm"):
        load(path)
