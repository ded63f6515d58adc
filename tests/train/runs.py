"""Runs in processes of their own, and their logs.

`START photos folder config.json [resume]` trains, in a group under `torchrun`; an objective called
`varying` masks another number of patches in each image.
"""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import torch

START = [sys.executable, __file__]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def read_log(folder):
    """Give the whole lines of a log that may be being written."""
    path = folder / "log.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True)
            if line.endswith("\n")]  # fmt: skip


def losses(folder):
    return [entry["loss"] for entry in read_log(folder)]


def run_together(processes, *arguments):
    """Run a training in so many processes and give what became of them."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        processes, *START[1:], *arguments,
    ]  # fmt: skip
    return subprocess.run(
        [*map(str, command)], env=ONE_THREAD, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip


def varying():
    """Make a SimMIM whose images have masks of different counts."""
    from mimprobe.train.objectives import SimMIM

    class Varying(SimMIM):
        def sample(self, label, generator):
            grid = super().sample(label, generator).shape
            mask = torch.from_numpy(generator.random(grid) < generator.uniform(0.1, 0.9))
            mask[0, 0] = True
            return mask

        def loss_parts(self, images, mask):
            stride = images.shape[-1] // mask.shape[-1]
            pixels = mask.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
            error = (images - self.reconstruct(images, mask)).abs() * pixels.unsqueeze(1)
            return error.sum(), 3 * pixels.sum()

    return Varying


def main(photos, folder, settings, *more):
    from mimprobe.errors import MimprobeError
    from mimprobe.train.config import TrainConfig
    from mimprobe.train.fit import pretrain
    from mimprobe.train.objectives import OBJECTIVES

    warnings.simplefilter("error")
    # PyTorch's own, while it compiles.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
    if "varying" in more:
        OBJECTIVES["simmim"] = varying()
    config = TrainConfig(**json.loads(settings))
    try:
        pretrain(Path(photos), Path(folder), config, resume="resume" in more)
    except MimprobeError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
