"""Every choice learns: a few steps on eight images, and the loss falls."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from encoders import FAMILIES

from mimprobe.data.images import open_images
from mimprobe.train.objectives import SimMIM, Supervised
from mimprobe.train.objectives.heads import HEADS
from mimprobe.train.objectives.simmim import EPSILON
from mimprobe.train.objectives.targets import TARGETS


def brightness(images):
    return (torch.nn.functional.avg_pool2d(images.mean(1), 8) * 9.99).long()


@pytest.fixture
def trained(make_config, photos, tmp_path, monkeypatch):
    """Train on flat images of different colours and give the first loss and the last one."""
    module = ModuleType("my_tokens")
    module.brightness = brightness
    monkeypatch.setitem(sys.modules, "my_tokens", module)

    def train(steps=12, rate=3e-3, **changes):
        config = make_config(drop_path=0.0, **changes)
        torch.manual_seed(0)
        model = SimMIM(config, [])
        model.learn(open_images(photos), tmp_path)
        draw = torch.Generator().manual_seed(0)
        colours = torch.randn(8, 3, 1, 1, generator=draw)
        images = colours + 0.1 * torch.randn(8, 3, 32, 32, generator=draw)
        generator = np.random.default_rng(0)
        mask = torch.stack([model.sample(0, generator) for _ in images])
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        losses = []
        for _ in range(steps):
            loss = model(images, mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return train


@pytest.mark.parametrize("family", FAMILIES)
def test_every_encoder_learns(trained, family):
    losses = trained(**FAMILIES[family])
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns(trained, head):
    losses = trained(head=head, target_scale=4, steps=12, rate=5e-4)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_learns(trained, target):
    tokenizer = "my_tokens:brightness" if target == "tokens" else ""
    losses = trained(
        target=target, tokenizer=tokenizer, vocabulary=10, clusters=16,
        target_scale=1 if target == "tokens" else 2,
    )  # fmt: skip
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    "changes",
    [{"loss": "l2"}, {"loss": "smooth_l1"}, {"loss_on": "all"}, {"norm_window": 9, "steps": 40},
     {"target": "bins", "bins": 256}, {"target_scale": 16}],
    ids=str,
)  # fmt: skip
def test_every_loss_learns(trained, changes):
    losses = trained(**changes)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_supervision_of_every_encoder_learns(make_config, family):
    torch.manual_seed(0)
    model = Supervised(make_config("supervised", **FAMILIES[family], drop_path=0.0), ["a", "b"])
    labels = torch.arange(8) % 2
    images = labels.view(8, 1, 1, 1) * 2.0 - 1 + 0.1 * torch.randn(8, 3, 32, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = model(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    "changes",
    [{}, {"target_scale": 2}, {"target_scale": 16}, {"loss_on": "all"},
     {"target": "bins", "target_scale": 4}],
    ids=str,
)  # fmt: skip
def test_parts_of_batches_add_up_to_the_loss_of_all(make_config, changes):
    """With masks of varying count, as processes and accumulated batches have them."""
    torch.manual_seed(0)
    model = SimMIM(make_config(drop_path=0.0, **changes), []).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    coarse = torch.rand(4, 2, 2, generator=torch.Generator().manual_seed(1)) < 0.5
    mask = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert len({int(m.sum()) for m in mask}) > 1
    with torch.no_grad():
        parts = [model.loss_parts(images[i : i + n], mask[i : i + n]) for i, n in ((0, 1), (1, 3))]
        whole = model(images, mask)
    total, count = (sum(values) for values in zip(*parts, strict=True))
    assert whole.item() == pytest.approx((total / (count.double() + EPSILON)).item(), abs=1e-12)
    scale = changes.get("target_scale", 1)
    covered = 32 * 32 * 4 if changes.get("loss_on") else int(coarse.sum()) * 16 * 16
    assert int(count) == covered // scale**2
