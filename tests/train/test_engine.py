"""One step: precisions, parts, rates of groups, memory, and what is no number."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from runs import ONE_THREAD, START, losses, read_log, varying
from torch import nn

from mimprobe.errors import NonFiniteError
from mimprobe.loop.processes import Processes
from mimprobe.train.average import Average
from mimprobe.train.engine import Engine
from mimprobe.train.fit import pretrain
from mimprobe.train.objectives import OBJECTIVES, SimMIM, Supervised
from mimprobe.train.schedule import learning_rate

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float64"])
def test_every_precision_learns(precision, photos, make_config, tmp_path):
    config = make_config(epochs=8, drop_path=0.0, precision=precision)
    pretrain(photos, tmp_path / "run", config)
    found = losses(tmp_path / "run")
    assert sum(found[-6:]) < 0.9 * sum(found[:6])
    state = torch.load(tmp_path / "run" / "checkpoint.pt")
    wide = torch.float64 if precision == "float64" else torch.float32
    assert state["model"]["encoder.pos_embed"].dtype == wide
    assert ("scale" in state["scaler"]) == (precision == "float16")


@pytest.mark.parametrize("changes", [
    {"accumulate": 2}, {"accumulate": 8}, {"checkpoint_activations": True}, {"channels_last": True},
])  # fmt: skip
def test_what_saves_memory_changes_no_loss(changes, photos, make_config, tmp_path, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "simmim", varying())
    settings = {"drop_path": 0.0, "precision": "float64", "epochs": 4}
    pretrain(photos, tmp_path / "plain", make_config(**settings))
    pretrain(photos, tmp_path / "other", make_config(**settings, **changes))
    np.testing.assert_allclose(
        losses(tmp_path / "other"), losses(tmp_path / "plain"), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}])
def test_the_logged_loss_is_that_of_numpy(changes, photos, make_config, tmp_path, monkeypatch):
    """Sum over all images over count over all images, whatever the parts."""
    seen = []

    class Told(varying()):
        def loss_parts(self, images, mask):
            total, count = super().loss_parts(images, mask)
            seen.append((total.item(), count.item()))
            return total, count

    monkeypatch.setitem(OBJECTIVES, "simmim", Told)
    pretrain(photos, tmp_path / "run", make_config(precision="float64", epochs=1, **changes))
    parts = np.reshape(seen, (3, -1, 2))
    expected = parts[:, :, 0].sum(1) / parts[:, :, 1].sum(1)
    np.testing.assert_allclose(losses(tmp_path / "run"), expected, rtol=1e-14)
    means = (parts[:, :, 0] / parts[:, :, 1]).mean(1)
    assert bool(changes) == (abs(expected - means).max() > 1e-4)


def make_engine(config, kind=Supervised):
    torch.manual_seed(0)
    return Engine(kind(config, ["cats", "dogs"]), config, Processes(), CPU, 3, tuple)


def a_batch():
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.standard_normal((8, 3, 32, 32))), torch.arange(8) % 2


class Scaled(Supervised):
    """The head decays, and learns at a quarter of the rate."""

    def parameter_groups(self, config):
        named = list(self.named_parameters())
        head = [parameter for name, parameter in named if "head" in name]
        rest = [parameter for name, parameter in named if "head" not in name]
        return [
            {"params": head, "weight_decay": 0.3, "lr_scale": 0.25},
            {"params": rest, "weight_decay": 0.0},
        ]


def test_one_step_is_that_of_adamw_in_numpy(make_config):
    """Clipping, decay, moments and the rate of each group, restated for one parameter of each."""
    config = make_config(
        "supervised", precision="float64", drop_path=0.0, clip_norm=0.01, warmup_epochs=0.0
    )
    engine = make_engine(config, Scaled)
    before = {name: p.detach().numpy().copy() for name, p in engine.model.named_parameters()}
    taken = engine.take_step([a_batch()], 1)
    # AdamW's first step: both moments are corrected to the gradient and its square.
    for name, parameter in engine.model.named_parameters():
        gradient = parameter.grad.numpy()  # clipped in place
        head = "head" in name
        rate = learning_rate(1, 3, config) * (0.25 if head else 1.0)
        decayed = before[name] * (1 - rate * (0.3 if head else 0.0))
        expected = decayed - rate * gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=0, atol=1e-14)
    norm = np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in engine.model.parameters()))
    assert taken.norm > 0.01
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_average_is_its_recursion():
    module = nn.Linear(1, 1, bias=False).double()
    average, value = Average(module, 0.6), module.weight.item()
    draw = np.random.default_rng(0)
    for step in range(1, 20):
        weight = draw.standard_normal()
        nn.init.constant_(module.weight, weight)
        average.update(module, step)
        decay = min(0.6, (1 + step) / (10 + step))
        value = decay * value + (1 - decay) * weight
        assert average.weights["weight"].item() == pytest.approx(value, abs=1e-14)


def test_a_scale_too_large_for_float16_is_lowered_without_a_step(make_config):
    engine = make_engine(make_config("supervised", precision="float16", warmup_epochs=0.0))
    engine.precision.scaler.load_state_dict(
        {**engine.precision.scaler.state_dict(), "scale": 2.0**40}
    )
    before = engine.model.encoder.cls_token.detach().clone()
    taken = engine.take_step([a_batch()], 0)
    assert taken.good
    assert not np.isfinite(taken.norm)
    assert engine.precision.scaler.get_scale() == 2.0**39
    assert torch.equal(engine.model.encoder.cls_token, before)


class Poisoned(Supervised):
    """Gives no number for white images: in the loss, or in the gradient alone."""

    where = "loss"

    def forward(self, images, labels):
        white = images.mean((1, 2, 3), keepdim=True) > 2.0
        if self.where == "loss":
            return super().forward(torch.where(white, torch.nan, images), labels)
        loss = super().forward(images, labels)
        if white.any():
            loss = loss + (0 * self.encoder.cls_token.sum()).sqrt()
        return loss


@pytest.mark.parametrize("where", ["loss", "norm of the gradient"])
def test_an_image_without_a_number_is_named_and_the_checkpoint_kept(
    where, photos, make_config, tmp_path, monkeypatch
):
    shutil.copytree(photos, tmp_path / "photos")
    Image.new("RGB", (40, 40), "white").save(tmp_path / "photos" / "dogs" / "07.png")
    monkeypatch.setitem(OBJECTIVES, "supervised", Poisoned)
    monkeypatch.setattr(Poisoned, "where", where)
    config = make_config("supervised", checkpoint_minutes=0.0, seed=1, accumulate=2)
    with pytest.raises(NonFiniteError, match=rf"^the {where} is nan at step 3") as caught:
        pretrain(tmp_path / "photos", tmp_path / "run", config)
    told = str(caught.value)
    assert re.search(
        r"\(learning rate [\d.e-]+\) for dogs/07\.png of the batch's 8 images; the run stopped and "
        r"the checkpoint of step 2 is kept; go on with --resume --change-rates and a lower "
        r"base_learning_rate$", told,
    )  # fmt: skip
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert len(read_log(tmp_path / "run")) == 2
    state = torch.load(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())


def test_a_rate_that_is_far_too_high_is_no_single_images_fault(photos, make_config, tmp_path):
    config = make_config(base_learning_rate=1e30, warmup_epochs=0.0, clip_norm=1e30)
    with pytest.raises(NonFiniteError, match=r"\(learning rate [\d.]+e\+28\) for every image of"):
        pretrain(photos, tmp_path / "run", config)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_prepare_gets_a_generator_of_seed_and_step(photos, make_config, tmp_path, monkeypatch):
    drawn = []

    class Mixing(SimMIM):
        def prepare(self, images, extra, generator):
            drawn.append(generator.random())
            return images, extra

    monkeypatch.setitem(OBJECTIVES, "simmim", Mixing)
    for name in ("a", "b"):
        pretrain(photos, tmp_path / name, make_config())
    assert drawn[:6] == drawn[6:]
    assert len(set(drawn)) == 6


@pytest.mark.slow
def test_compiled_networks_have_the_same_losses(photos, make_config, tmp_path):
    """In a process of its own: shape checks of the tests cannot be compiled."""
    settings = {"drop_path": 0.0}
    pretrain(photos, tmp_path / "plain", make_config(**settings))
    config = json.dumps(asdict(make_config(**settings, compile=True)))
    subprocess.run([*START, str(photos), str(tmp_path / "run"), config], env=ONE_THREAD, check=True)
    np.testing.assert_allclose(
        losses(tmp_path / "run"), losses(tmp_path / "plain"), rtol=0, atol=1e-4
    )
