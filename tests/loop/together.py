"""Run by `torchrun` (or alone) with a folder as argument: measures every case and stores it there.

In a group each process stores what it got, so that the test can compare all of them.
"""

import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torchvision.transforms import v2

import mimprobe
from mimprobe.analyzers import cka
from mimprobe.errors import MimprobeError
from mimprobe.stream import CkaSums, choose_cka_stream

IMAGES = 11
CASES = ("even", "more processes than batches", "bad images", "sums", "memory", "broken", "again")


class Narrow(torch.nn.Module):
    """Fits few images."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, pixels):
        if len(pixels) > self.most:
            raise torch.OutOfMemoryError(f"tried to allocate {len(pixels)} images")
        return pixels


def network(most=IMAGES):
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3
    )
    model.patch_embed.norm = Narrow(most)
    return model


def pictures(folder):
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = draw.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def prepare(image):
    steps = [v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose(steps)(image)


def measured(case, folder):
    """Measure one case, and give the result or the message of its error."""
    settings = {"transform": prepare, "device": "cpu", "batch_size": 2, "workers": 0}
    most = IMAGES
    rank = int(os.environ.get("RANK", 0))
    if case == "more processes than batches":
        settings |= {"batch_size": IMAGES}
    if case == "bad images":  # of the first process, the second and the first again
        for number in (9, 6, 1):
            (folder / f"{number:02}.png").write_bytes(b"no image")
        settings |= {"skip_bad_images": True}
    if case == "sums":
        settings |= {"analyzers": ["cka", "head_kl"]}
    if case == "memory":
        settings |= {"batch_size": 5}
        most = 1 if rank == 1 else 4
    if case == "broken":
        (folder / "06.png").write_bytes(b"no image")
    try:
        return mimprobe.probe({"m": network(most)}, folder, **settings)
    except MimprobeError as error:
        return type(error).__name__, str(error)


def main(out):
    rank = os.environ.get("RANK", "0")
    torch.set_num_threads(1)
    if "RANK" in os.environ:  # a program that has a group already; the command makes its own
        torch.distributed.init_process_group("gloo")
    for case in CASES:
        cka.choose_cka_stream = choose_cka_stream
        if case == "sums":
            cka.choose_cka_stream = lambda widths, images, budget_bytes: CkaSums(tuple(widths))
        folder = pictures(out / f"pictures of {rank}" / case)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = measured(case, folder)
        texts = [str(one.message) for one in told]
        (out / f"{case} of {rank}").write_bytes(pickle.dumps((found, texts)))
    if "RANK" in os.environ:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
