"""How many processes decode images, where the user does not say.

What belongs here: the choice. What does not: the processes (`batches`).
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from mimprobe.zoo.loaded import LoadedModel

MOST_WORKERS = 4
FEW_BATCHES = 8
"""Up to so many batches, starting processes takes longer than they save."""

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps what processes share."""

IN_FLIGHT = 3
"""Batches of each worker that lie in shared memory at once: two prefetched, and one on its way."""

USUAL_SIZE = (224, 224)
"""Pixels of an image whose transform is the user's own."""


def worker_count(batches: int, batch_bytes: int, *, processes: int, busy: int) -> int:
    """Give the number of decoding processes for each of the `processes` on this machine.

    None for few batches. Otherwise one for each core besides the `busy` ones that the networks
    compute on, at least one and up to 4, as far as the memory that processes share has room for
    their batches (containers often have 64 MB, and overrunning it kills).
    """
    if batches <= FEW_BATCHES:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    room = MOST_WORKERS
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        room = free // (IN_FLIGHT * batch_bytes * processes)
    own = (cores or 1) // processes
    return min(MOST_WORKERS, max(own - busy, min(own, 1)), room)


def usual_workers(
    batches: int, lineup: Sequence[LoadedModel], batch_size: int, device: str, *, processes: int = 1
) -> int:
    """Give the number of decoding processes for networks on a device, `cpu` or `cuda`."""
    busy = torch.get_num_threads() if device == "cpu" else 0
    size = batch_bytes(lineup, batch_size)
    return worker_count(batches, size, processes=processes, busy=busy)


def batch_bytes(lineup: Sequence[LoadedModel], batch_size: int) -> int:
    """Give the size of a batch of float32 pixels, each preprocessing counted once."""
    sizes = {
        model.preprocessing or model.custom_transform: (
            model.preprocessing.input_size if model.preprocessing else USUAL_SIZE
        )
        for model in lineup
    }
    return batch_size * sum(3 * 4 * height * width for height, width in sizes.values())
