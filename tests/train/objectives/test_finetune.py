"""Fine-tuning's parts: what is kept of a network, and what happens to a batch."""

import random

import numpy as np
import pytest
import torch

from mimprobe.errors import CheckpointError, OptionError
from mimprobe.train.classifier import with_classifier
from mimprobe.train.objectives import Finetune
from mimprobe.zoo.load import load_model

START = "random:vit_tiny_patch16_224"
CLASSES = ["a", "b", "c"]


@pytest.fixture
def make_finetune(make_config):
    def make(**changes):
        return Finetune(make_config("finetune", start=START, **changes), CLASSES)

    return make


def batch(count=8):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 32, 32, generator=draw), torch.arange(count) % 3


def test_all_but_the_classifier_is_the_start(make_finetune, make_config):
    tuned = make_finetune()
    config = make_config()
    start = load_model(START, arch_args=config.arch_args, input_size=32, device="cpu").module
    before, after = start.state_dict(), tuned.encoder.state_dict()
    anew = {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    assert after["head.weight"].shape == (3, 24)
    assert set(after) - set(before) == anew - {"head.weight", "head.bias"}
    for key in set(after) - anew:
        assert torch.equal(after[key], before[key]), key
    assert tuned.kind == "supervised"
    assert tuned.preprocessing.crop_pct == 0.875


def test_patches_are_averaged(make_finetune):
    encoder = make_finetune().encoder.eval()
    images, _ = batch(2)
    with torch.no_grad():
        tokens = encoder.forward_features(images)
        pooled = encoder.fc_norm(tokens[:, 1:].mean(1))
        assert torch.allclose(encoder(images), encoder.head(pooled), atol=1e-6)


@pytest.mark.parametrize(
    ("reference", "arguments", "size"),
    [
        ("random:swin_tiny_patch4_window7_224", {"window_size": 2}, 64),
        ("random:beit_base_patch16_224", {"depth": 2, "embed_dim": 24, "num_heads": 3}, 32),
        ("random:resnet18", {}, 64),
    ],
)
def test_other_families_take_a_classifier_too(reference, arguments, size):
    loaded = load_model(reference, arch_args=arguments, input_size=size, device="cpu")
    network, built_with = with_classifier(loaded, 5, 0.1)
    assert network.eval()(torch.randn(2, 3, size, size)).shape == (2, 5)
    assert built_with["num_classes"] == 5
    kept = loaded.module.state_dict()
    same = [key for key, value in network.state_dict().items()
            if key in kept and torch.equal(value, kept[key])]  # fmt: skip
    assert len(same) >= len(kept) - 4


def test_positions_are_resized(make_config):
    config = make_config("finetune", start=START, input_size=48)
    tuned = Finetune(config, CLASSES)
    assert tuned.encoder.pos_embed.shape == (1, 1 + 6 * 6, 24)
    assert tuned.preprocessing.input_size == (48, 48)


def test_networks_that_timm_did_not_build_are_refused():
    loaded = load_model(START, arch_args={"depth": 1}, device="cpu")
    object.__setattr__(loaded, "module", torch.nn.Linear(2, 2))
    with pytest.raises(OptionError, match="is a Linear; fine-tuning takes networks of timm"):
        with_classifier(loaded, 2, 0.0)
    whole = load_model(START, arch_args={"depth": 1}, device="cpu")
    object.__setattr__(whole, "arguments", {"depth": 2})
    with pytest.raises(CheckpointError, match=r"lacks 12 tensors .*such as blocks\.1\.norm1"):
        with_classifier(whole, 2, 0.0)


def test_mixing_is_that_of_its_step_and_leaves_global_generators_alone(make_finetune):
    model = make_finetune(mixup=0.8, cutmix=1.0, erasing=0.5)

    def mixed(step):
        images, labels = batch()
        return model.prepare(images, labels, np.random.default_rng((0, step)))

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    (images, targets), (again, same) = mixed(4), mixed(4)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(images, again)
    assert torch.equal(targets, same)
    assert not torch.equal(images, mixed(5)[0])
    assert targets.shape == (8, 3)
    assert torch.allclose(targets.sum(1), torch.ones(8))
    with pytest.raises(OptionError, match="pair the images of a batch, and one has 7"):
        model.prepare(*batch(7), np.random.default_rng(0))


def test_erasing_replaces_a_rectangle_by_noise(make_finetune):
    model = make_finetune(erasing=1.0)
    images, labels = batch()
    erased, same = model.prepare(images.clone(), labels.clone(), np.random.default_rng(0))
    assert torch.equal(labels, same)
    for one, other in zip(images, erased, strict=True):
        rows, columns = (one != other).any(0).nonzero(as_tuple=True)
        height, width = (int(places.max() - places.min()) + 1 for places in (rows, columns))
        assert len(rows) == height * width  # all of a rectangle changed, and nothing else
        assert 0.015 < len(rows) / 32**2 < 0.36


def test_losses_are_the_formulas(make_finetune):
    images, labels = batch()
    for changes in ({}, {"mixup": 0.8}):
        model = make_finetune(label_smoothing=0.1, drop_path=0.0, **changes).eval()
        images, targets = model.prepare(images, labels, np.random.default_rng(0))
        with torch.no_grad():
            logs = model.encoder(images).double().log_softmax(1)
            found = model(images, targets)
        if targets.ndim == 1:
            targets = torch.nn.functional.one_hot(targets, 3) * 0.9 + 0.1 / 3
        expected = -(targets.double() * logs).sum(1).mean()
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
