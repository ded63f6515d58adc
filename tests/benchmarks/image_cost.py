"""What an image costs in a set of 100, 1,000 and 10,000, with every analyzer of the spine.

A small ViT, so that what is remembered weighs most beside the forward pass. The sets are measured
in alternation: rounds of 100 and 1,000 fill the time between parts of the largest. Images are drawn
in memory, so that no disk is timed. The cost of a set is all of `probe`: passes, accumulators, and
the tables at the end, with CKA's Gram matrices and jackknife.
"""

import argparse
import statistics
import time

import torch
from pairs import machine
from PIL import Image
from torch import Tensor

from mimprobe import load_model, probe
from mimprobe.analyzers import ANALYZERS

MODEL = "vit_tiny_patch16_224"
SPINE = ("attention_distance", "attention_entropy", "head_kl", "prefix_mass", "cka")


class Drawn(torch.utils.data.Dataset[tuple[Image.Image, str]]):
    """One picture under many names: decoding and transforming it costs the same each time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.picture = Image.linear_gradient("L").resize((224, 224)).convert("RGB")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return self.picture, f"{number}"


def noise(picture: Image.Image) -> Tensor:
    """Give another image each time: equal ones would have no spread to measure."""
    assert picture.size == (224, 224)
    return torch.randn(3, 224, 224)


def main() -> None:
    """Print seconds for each image of each set, and the ratio to the smallest set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all", action="store_true", help="every analyzer, not the spine's")
    options = parser.parse_args()
    print(machine())
    model = load_model(f"random:{MODEL}", device="cpu").module
    tools = tuple(ANALYZERS) if options.all else SPINE
    costs: dict[int, list[float]] = {size: [] for size in options.sizes}
    for _ in range(options.rounds):
        for size in options.sizes:
            # As many small sets as take a tenth of the largest: one alone is too short to time.
            for _ in range(max(1, min(10, max(options.sizes) // (10 * size)))):
                start = time.perf_counter()
                probe({"vit": model}, Drawn(size), analyzers=tools, transform=noise, workers=0)
                costs[size].append((time.perf_counter() - start) / size)
    base = statistics.median(costs[options.sizes[0]])
    for size, seconds in costs.items():
        middle = statistics.median(seconds)
        print(
            f"{size:7,} images: {middle * 1e3:6.2f} ms each "
            f"[{min(seconds) * 1e3:.2f}, {max(seconds) * 1e3:.2f}] over {len(seconds)} runs, "
            f"ratio {middle / base:.3f}; target within 5 %"
        )


if __name__ == "__main__":
    main()
