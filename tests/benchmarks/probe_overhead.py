"""What the diagnostics cost beside the bare forward pass, in time and in memory.

ViT-B/16 at 224 px, batch 8, untrained weights, on a CPU: run it with `make bench`.

The bare pass is the network as people run it (fused attention, no hooks, `inference_mode`). Each
pair runs the bare pass and the measured pass one after the other in the same process with the same
threads; the ratio is taken pair by pair, and its median and quartiles are printed. In the same run
the tables are compared with a float64 definition computed from the captured maps by other code.
"""

import argparse
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mimprobe.analyzers import Analyzer, make_analyzers
from mimprobe.hooks import AttentionSeen, capture
from mimprobe.loop.passes import Passes
from mimprobe.models.geometry import Geometry, patch_distances
from mimprobe.models.sites import layout
from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel

ATTENTION = ("attention_distance", "attention_entropy", "head_kl", "prefix_mass")
CASES = {"attention": ATTENTION, "attention + cka": (*ATTENTION, "cka")}
BATCH = 8
WARM_UP = 6
"""Passes of each before the first that counts: with two, the first case read 0.1 higher."""

MODEL = "vit_base_patch16_224"


def main() -> None:
    """Print times, ratios, agreement with the oracle, and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--memory", choices=("bare", *CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(peak_memory(options.memory))
        return
    print(
        f"{MODEL}, 224 px, batch {BATCH}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    )
    model, images = subject()
    for name in CASES:
        run = measured_pass(model, make_analyzers(CASES[name]), images)
        time_pairs(name, lambda: bare_pass(model, images), run, options.pairs)
    check_tables(model, images)
    base = memory_in_fresh_process("bare")
    for name in CASES:
        extra = memory_in_fresh_process(name) - base
        print(f"{name:16} extra peak memory {extra:6.0f} MB over the bare pass ({base:.0f} MB)")


def subject() -> tuple[LoadedModel, Tensor]:
    """Make the network and its input."""
    model = load_model(f"random:{MODEL}", device="cpu")
    images = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return model, images


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
        found = passes.run(images, [str(i) for i in range(BATCH)])
        for tool in tools:
            tool.add(range(count, count + BATCH), {model.name: found[tool.name]})
        count += BATCH

    return run


def time_pairs(
    name: str, bare: Callable[[], None], measured: Callable[[], None], pairs: int
) -> None:
    """Run both in alternation and print the quartiles of time and ratio."""
    for _ in range(WARM_UP):
        bare(), measured()
    times = []
    for pair in range(pairs):
        # Which of the two goes first alternates as well: the second may find a warmer cache.
        both = {}
        for label, run in sorted({"bare": bare, "measured": measured}.items(), reverse=pair % 2):
            start = time.perf_counter()
            run()
            both[label] = time.perf_counter() - start
        times.append((both["bare"], both["measured"]))
    ratios = [after / before for before, after in times]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    before, after = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{name:16} bare {before * 1e3:6.0f} ms, measured {after * 1e3:6.0f} ms, "
        f"ratio {middle:.3f} [{low:.3f}, {high:.3f}] over {pairs} pairs"
    )


def check_tables(model: LoadedModel, images: Tensor) -> None:
    """Compare the tables with float64 definitions, written out on the captured maps."""
    tools = make_analyzers(ATTENTION)
    measured_pass(model, tools, images)()
    tables = {tool.name: tool.table({model.name: model.kind}) for tool in tools}
    sites = layout(model.module).attention_sites
    distances = patch_distances(Geometry((14, 14), (16, 16), 1), torch.device("cpu")).double()
    worst = dict.fromkeys(ATTENTION, 0.0)
    for layer in (0, 5, 11):
        with torch.inference_mode(), capture(model.module, [sites[layer]]) as captured:
            model.module(images)
        seen = captured[sites[layer]]
        assert isinstance(seen, AttentionSeen)
        for metric, truth in oracle(seen.attention.double(), distances).items():
            rows = tables[metric].query("metric == @metric and layer == @layer and head.notna()")
            error = abs(torch.tensor(rows["value"].to_numpy()) / truth - 1).max().item()
            worst[metric] = max(worst[metric], error)
    for metric, error in worst.items():
        print(f"{metric:18} largest relative error against float64: {error:.1e}")
        if error > 1e-3:
            sys.exit(f"{metric} is wrong")


def oracle(attention: Tensor, distances: Tensor) -> dict[str, Tensor]:
    """Write the definitions out, in float64, from a map with one prefix token."""
    patches = attention[:, :, 1:, 1:]
    patches = patches / patches.sum(-1, keepdim=True)
    logs = patches.log()
    heads = patches.shape[1]
    divergence = torch.stack(
        [
            (patches[:, i, None] * (logs[:, i, None] - logs)).sum(-1).mean((0, 2))
            for i in range(heads)
        ]
    )
    return {
        "attention_distance": (patches * distances).sum(-1).mean((0, 2)),
        "attention_entropy": -(patches * logs).sum(-1).mean((0, 2)),
        "head_kl": divergence.sum(1) / (heads - 1),
        "prefix_mass": attention[:, :, 1:, 0].mean((0, 2)),
    }


def memory_in_fresh_process(case: str) -> float:
    """Run one case alone, so that its peak is its own."""
    command = [sys.executable, __file__, "--memory", case]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_memory(case: str) -> float:
    """Give the largest resident memory of this process in MB after six passes."""
    model, images = subject()
    run = measured_pass(model, make_analyzers(CASES[case]), images) if case != "bare" else None
    for _ in range(6):
        bare_pass(model, images) if run is None else run()
    # Not ru_maxrss: that one is handed down to a child by the process that started it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    main()
