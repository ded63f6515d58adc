"""What read-outs cost: time and extra peak memory at the sizes of a large data set.

`--case knn`: 50,000 references of 768 features against 10,000 queries. `--case linear`: a probe of
20,000 x 768 features in 40 classes with its regularisation chosen, beside scikit-learn's
LogisticRegression at the C that was chosen. Features are made up: classes around centres of their
own, with a few strong directions, as those of networks have.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from pairs import machine
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mimprobe.readout.linear import linear_probe
from mimprobe.readout.neighbours import nearest_neighbours_correct

WIDTH, CLASSES = 768, 40
T = TypeVar("T")


def made_up(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Give features and labels."""
    fixed, draw = (torch.Generator().manual_seed(one) for one in (0, seed))
    centres = 0.12 * torch.randn(CLASSES, WIDTH, generator=fixed)
    mix = torch.randn(WIDTH, WIDTH, generator=fixed) / WIDTH**0.5 * torch.logspace(0, -2, WIDTH)
    labels = torch.arange(images) % CLASSES
    return (centres[labels] + torch.randn(images, WIDTH, generator=draw)) @ mix, labels


def measured(name: str, job: Callable[[], T]) -> T:
    """Run a job; print seconds on the clock and of the processor, and the memory that it added."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew; Linux only
    before = memory("VmRSS")
    wall, own = time.perf_counter(), time.process_time()
    found = job()
    wall, own = time.perf_counter() - wall, time.process_time() - own
    added = memory("VmHWM") - before
    print(f"{name:44} {wall:6.1f} s, of the processor {own:6.1f} s; at most {added:5.0f} MB more")
    return found


def memory(field: str) -> float:
    """Give what the process holds (VmRSS) or held at most (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return float(line.split()[1]) / 1024


def knn() -> None:
    features, labels = made_up(50_000, 1)
    queries, truth = made_up(10_000, 2)
    found = measured(
        "knn, 10,000 queries of 50,000 x 768",
        lambda: nearest_neighbours_correct(features, labels, queries, truth),
    )
    print(f"{'':44} accuracy {found.double().mean():.3f}")


def linear() -> None:
    features, labels = made_up(20_000, 1)
    queries, truth = made_up(4_000, 2)
    probe = measured("linear, 20,000 x 768, 40 classes, penalty chosen",
                     lambda: linear_probe(features, labels, seed=0))  # fmt: skip
    ours = (probe.classes(queries) == truth).double().mean().item()
    strength = 1 / (probe.penalty * len(features))
    model = LogisticRegression(C=strength, max_iter=1000)
    standard = ((features - probe.centre) / probe.scale).numpy()
    measured(f"scikit-learn at C = {strength:g}, one fit",
             lambda: model.fit(standard, labels.numpy()))  # fmt: skip
    named = model.predict(((queries - probe.centre) / probe.scale).numpy())
    theirs = (torch.from_numpy(named) == truth).double().mean().item()
    print(f"{'':44} accuracy {ours:.4f}, scikit-learn {theirs:.4f}")


CASES = {"knn": knn, "linear": linear}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    for name in [options.case] if options.case else CASES:
        CASES[name]()


if __name__ == "__main__":
    main()
