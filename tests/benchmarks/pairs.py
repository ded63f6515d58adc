"""Two ways to do a thing, timed in alternation: the only comparison that a noisy machine allows.

What belongs here: running pairs and their statistics. What does not: what is compared.
"""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Run = Callable[[], object]


@dataclass(frozen=True)
class Paired:
    """Median seconds of both, and the quartiles of the ratio taken pair by pair."""

    before: float
    after: float
    low: float
    ratio: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return (
            f"{self.before * 1e3:7.0f} ms, {self.after * 1e3:7.0f} ms, "
            f"ratio {self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}] over {self.pairs} pairs"
        )


def time_pairs(before: Run, after: Run, *, pairs: int, warm_up: int) -> Paired:
    """Run both in alternation, and which goes first alternates as well.

    The second of two may find a warmer cache, and the first passes of a process are slow: with two
    of them for warm-up a case read 0.1 higher than with six.
    """
    for _ in range(warm_up):
        before(), after()
    times = []
    for pair in range(pairs):
        both = {}
        for label, run in sorted({"a": before, "b": after}.items(), reverse=bool(pair % 2)):
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            both[label] = time.perf_counter() - start
        times.append((both["a"], both["b"]))
    ratios = [later / first for first, later in times]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    first, later = (statistics.median(column) for column in zip(*times, strict=True))
    return Paired(first, later, low, middle, high, pairs)


def machine() -> str:
    """Say on what this runs."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.processor() or platform.machine()}{gpu}"
    )
