"""Rates by step and groups by name against the original's arithmetic, restated in NumPy."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from mimprobe.train.schedule import learning_rate, parameter_groups

STEPS = 7


def restated(epochs, warmup_epochs, steps, base, start, low, batch, *, milestone=None):
    """The schedules of the published code, at every update, in float64."""
    total, warmup = int(epochs * steps), int(warmup_epochs * steps)
    base, start, low = (np.float64(rate) * batch / 512 for rate in (base, start, low))
    update = np.arange(total, dtype=np.float64)
    rising = start + update * (base - start) / max(1, warmup)
    if milestone is None:
        falling = low + 0.5 * (base - low) * (1 + np.cos(np.pi * update / total))
    else:
        falling = base * 0.1 ** (update >= milestone * steps)
    return np.where(update < warmup, rising, falling)


@pytest.mark.parametrize("batch", [512, 2048, 24])
def test_cosine_at_every_step(batch, make_config):
    config = make_config(
        epochs=100, warmup_epochs=10.0, batch_size=batch, base_learning_rate=2e-4,
        warmup_learning_rate=1e-6, min_learning_rate=1e-5,
    )  # fmt: skip
    rates = [learning_rate(step, STEPS, config) for step in range(100 * STEPS)]
    expected = restated(100, 10, STEPS, 2e-4, 1e-6, 1e-5, batch)
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize(("epochs", "milestone"), [(800, 700), (100, 90), (100, 700)])
def test_step_at_every_step(epochs, milestone, make_config):
    config = make_config(
        epochs=epochs, warmup_epochs=10.0, batch_size=2048, base_learning_rate=1e-4,
        warmup_learning_rate=5e-7, schedule="step", decay_epoch=milestone,
    )  # fmt: skip
    rates = [learning_rate(step, STEPS, config) for step in range(epochs * STEPS)]
    expected = restated(epochs, 10, STEPS, 1e-4, 5e-7, 0.0, 2048, milestone=milestone)
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert (rates[-1] < 1e-4) == (milestone < epochs)


def test_cosine_after_the_warm_up_begins_at_the_peak(make_config):
    config = make_config(
        epochs=100, warmup_epochs=10.0, batch_size=512, base_learning_rate=2e-4,
        warmup_learning_rate=1e-6, min_learning_rate=1e-5, schedule="cosine-after-warmup",
    )  # fmt: skip
    rates = np.array([learning_rate(step, 50, config) for step in range(5001)])
    assert rates[0] == pytest.approx(1e-6)
    assert rates[500] == rates.max() == pytest.approx(2e-4)
    assert rates[2750] == pytest.approx((2e-4 + 1e-5) / 2)
    assert rates[5000] == pytest.approx(1e-5)
    assert (np.diff(rates[:501]) > 0).all()
    assert (np.diff(rates[500:]) < 0).all()


SMALL_VIT = {"embed_dim": 24, "depth": 2, "num_heads": 3}
SMALL_SWIN = {"embed_dim": 12, "depths": (2, 1), "num_heads": (1, 2)}
SPARED = {
    "vit_tiny_patch16_224": (SMALL_VIT, ("cls_token", "pos_embed")),
    "beit_base_patch16_224": (SMALL_VIT, ("cls_token", "relative_position_bias_table")),
    "swin_tiny_patch4_window7_224": (SMALL_SWIN, ("relative_position_bias_table",)),
    "swinv2_tiny_window8_256": (SMALL_SWIN, ("cpb_mlp", "logit_scale")),
}


class Masked(nn.Module):
    def __init__(self, arch, arguments):
        super().__init__()
        self.encoder = timm.create_model(arch, **arguments)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 8))


@pytest.mark.parametrize("arch", SPARED)
def test_who_decays(arch, make_config):
    arguments, words = SPARED[arch]
    model = Masked(arch, arguments)
    decay, still = parameter_groups(model, make_config(weight_decay=0.07))
    assert (decay["weight_decay"], still["weight_decay"]) == (0.07, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(parameter)] for parameter in still["params"]}
    expected = {
        name
        for name, parameter in model.named_parameters()
        if len(parameter.shape) == 1 or name.endswith(".bias")
        or any(word in name for word in (*words, "mask_token"))
    }  # fmt: skip
    assert found == expected
    assert len(decay["params"]) + len(still["params"]) == len(names)
    for word in words:
        tables = [name for name in expected if word in name and not name.endswith("bias")]
        assert tables, word
