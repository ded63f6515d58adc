"""What a training step costs: beside Hugging Face's SimMIM, and beside the bare network.

`--case vit`: a whole step (forward, backward, clipping, AdamW) of ViT-S/16 at 224 px, batch 8, as
the trainer takes it, over the same step of `ViTForMaskedImageModeling` of transformers with the
same masks, optimiser and threads. `--case swin`: loss and gradients of SimMIM with Swin-T at
192 px, over forward and backward of timm's Swin-T alone.
"""

import argparse
from collections.abc import Callable

import torch
from pairs import machine, time_pairs
from torch import Tensor, nn
from transformers import ViTConfig, ViTForMaskedImageModeling

from mimprobe.loop.processes import Processes
from mimprobe.train.config import TrainConfig
from mimprobe.train.engine import Engine
from mimprobe.train.objectives import SimMIM
from mimprobe.train.schedule import parameter_groups

BATCH, RATE = 8, 1e-4
CPU = torch.device("cpu")


def settings(arch: str, side: int, **changes: object) -> TrainConfig:
    return TrainConfig("simmim", arch, side, batch_size=BATCH, device="cpu", **changes)


def masks(model: SimMIM) -> Tensor:
    """Hide the same share of every image, at random."""
    draw = torch.Generator().manual_seed(0)
    cells = model.grid[0] // model.cell
    order = torch.rand(BATCH, cells * cells, generator=draw).argsort(1)
    coarse = (order < round(0.6 * cells * cells)).view(BATCH, cells, cells)
    return coarse.repeat_interleave(model.cell, 1).repeat_interleave(model.cell, 2)


def vit() -> tuple[Callable[[], object], Callable[[], object]]:
    """Give the step of transformers and ours."""
    config = settings("vit_small_patch16_224", 224)
    ours = SimMIM(config, [])
    engine = Engine(ours, config, Processes(), CPU, 10**6, tuple)
    images, mask = torch.randn(BATCH, 3, 224, 224), masks(ours)
    theirs = ViTForMaskedImageModeling(
        ViTConfig(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536,
            image_size=224, patch_size=16, encoder_stride=16, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()  # fmt: skip
    optimizer = torch.optim.AdamW(parameter_groups(theirs, config), lr=RATE)
    flat = mask.flatten(1)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = theirs(images, bool_masked_pos=flat).loss
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), config.clip_norm)
        optimizer.step()
        loss.item()

    return step, lambda: engine.take_step([(images, mask)], 0)


def swin() -> tuple[Callable[[], object], Callable[[], object]]:
    """Give forward and backward of the bare network, and loss and gradients of SimMIM."""
    config = settings(
        "swin_tiny_patch4_window7_224", 192, arch_args={"window_size": 6}, mask_patch=32
    )
    model = SimMIM(config, []).train()
    images, mask = torch.randn(BATCH, 3, 192, 192), masks(model)

    def bare() -> None:
        model.zero_grad(set_to_none=True)
        features = model.encoder.forward_features(images)
        features.backward(torch.ones_like(features))

    def whole() -> None:
        model.zero_grad(set_to_none=True)
        model(images, mask).backward()

    return bare, whole


CASES = {"vit": (vit, 0.95), "swin": (swin, 1.05)}


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(machine())
    for name in options.case or CASES:
        make, target = CASES[name]
        torch.manual_seed(0)
        found = time_pairs(*make(), pairs=options.pairs, warm_up=3)
        print(f"{name:>6}: {found}; target {target}")


if __name__ == "__main__":
    main()
