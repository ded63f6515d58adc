"""What the diagnostics cost beside the bare forward pass, in time and in memory.

Untrained weights at 224 px, batch 8, on a CPU; on a CUDA machine also ViT-B/16 in bfloat16 at batch
256. Run it with `make bench`, or by hand for some cases: `--case NAME`.

The bare pass is the network as people run it (fused attention, no hooks, `inference_mode`). Each
pair runs the bare pass and the measured pass one after the other in the same process with the same
threads, both in the memory that `probe` keeps (`models.allocation`, which makes either faster); the
ratio is taken pair by pair, and its median and quartiles are printed. In the same run the tables
are compared with a float64 definition computed from the captured maps by other code.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from oracle import check_tables
from pairs import machine, time_pairs
from torch import Tensor

from mimprobe.analyzers import Analyzer, make_analyzers
from mimprobe.loop.passes import Passes
from mimprobe.models.allocation import kept_pages
from mimprobe.models.device import exact_pass, placed
from mimprobe.models.sites import layout
from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel

ATTENTION = ("attention_distance", "attention_entropy", "head_kl", "prefix_mass")
"""The attention diagnostics of the paper."""


@dataclass(frozen=True)
class Case:
    """A network, what is measured of it, and the ratio that it should not exceed."""

    model: str
    tools: Sequence[str] | None
    target: float | None
    arguments: dict[str, Any] = field(default_factory=dict)


VIT, SWIN, SWINV2 = (
    "vit_base_patch16_224",
    "swin_base_patch4_window7_224",
    "swinv2_base_window8_256",
)
CASES = {
    "attention": Case(VIT, ATTENTION, 1.12),
    "attention + cka": Case(VIT, (*ATTENTION, "cka"), 1.20),
    "everything": Case(VIT, None, None),
    "swin": Case(SWIN, ATTENTION, 1.12),
    "swinv2": Case(SWINV2, ATTENTION, 1.12, {"img_size": 224, "window_size": 7}),
}
MEMORY_CASES = ("attention", "attention + cka", "everything")
WARM_UP = 6
CPU = torch.device("cpu")


def main() -> None:
    """Print times, ratios, agreement with the oracle, and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--case", action="append", choices=(*CASES, "cuda", "memory"))
    parser.add_argument("--peak", choices=("bare", *CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak_memory(options.peak))
        return
    print(machine())
    chosen = options.case or [*CASES, "memory", *(["cuda"] if torch.cuda.is_available() else [])]
    for name in chosen:
        if name == "memory":
            print_memory()
        elif name == "cuda":
            time_on_cuda(options.pairs)
        else:
            time_case(name, CASES[name], options.pairs)


def time_case(name: str, case: Case, pairs: int) -> None:
    """Time one case on the CPU, batch 8, in float32, and check its tables."""
    model, images = subject(case)
    run = measured_pass(model, make_analyzers(case.tools), images)
    with kept_pages(CPU):
        timed = time_pairs(lambda: bare_pass(model, images), run, pairs=pairs, warm_up=WARM_UP)
    print(f"{name:16} {case.model}: bare, measured {timed}; target {case.target or 'none'}")
    if case.model == VIT:
        check_tables(model, images, ATTENTION, (14, 14), (16, 16))


def time_on_cuda(pairs: int) -> None:
    """Time ViT-B/16 in bfloat16 at batch 256."""
    device = torch.device("cuda")
    model, _ = subject(CASES["attention"])
    images = torch.randn(256, 3, 224, 224, device=device)
    with ExitStack() as stack:
        stack.enter_context(placed(model.module, device))
        stack.enter_context(exact_pass(device, "bfloat16"))
        run = measured_pass(model, make_analyzers(ATTENTION), images)
        timed = time_pairs(lambda: bare_pass(model, images), run, pairs=pairs, warm_up=WARM_UP)
    print(f"{'cuda':16} {VIT}, bfloat16, batch 256: bare, measured {timed}; target 1.5, aim 1.25")


def subject(case: Case) -> tuple[LoadedModel, Tensor]:
    """Make the network and its input."""
    model = load_model(f"random:{case.model}", arch_args=case.arguments, device="cpu")
    return model, torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def bare_pass(model: LoadedModel, images: Tensor) -> None:
    """Run the network as people run it."""
    model.module(images)


def measured_pass(model: LoadedModel, tools: list[Analyzer], images: Tensor) -> Callable[[], None]:
    """Make a function that runs the network and feeds the analyzers, with new images each time."""
    places = layout(model.module)
    for tool in tools:
        tool.begin({model.name: places}, 1 << 20)
    passes = Passes(model, places, tools)
    count = 0

    @torch.inference_mode()
    def run() -> None:
        nonlocal count
        found = passes.run(images, [str(i) for i in range(len(images))])
        for tool in tools:
            tool.add(range(count, count + len(images)), {model.name: found.get(tool.name, {})})
        count += len(images)

    return run


def print_memory() -> None:
    """Print what each case takes beyond the bare pass, each in a process of its own."""
    base = memory_in_fresh_process("bare")
    for name in MEMORY_CASES:
        extra = memory_in_fresh_process(name) - base
        print(f"{name:16} extra peak memory {extra:6.0f} MB over the bare pass ({base:.0f} MB)")


def memory_in_fresh_process(case: str) -> float:
    """Run one case alone, so that its peak is its own."""
    command = [sys.executable, __file__, "--peak", case]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_memory(name: str) -> float:
    """Give the largest resident memory of this process in MB after six passes."""
    case = CASES.get(name, CASES["attention"])
    model, images = subject(case)
    run = None if name == "bare" else measured_pass(model, make_analyzers(case.tools), images)
    with kept_pages(CPU):
        for _ in range(6):
            bare_pass(model, images) if run is None else run()
    # Not ru_maxrss: that one is handed down to a child by the process that started it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    main()
