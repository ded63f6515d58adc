"""CKA of flattened features, beside the packages `pytorch-cka` and `torch_cka`.

Both are optional and are skipped where they cannot be imported. To have them beside this package
without touching its environment, install them into a folder of their own and name it:

    .venv/bin/python -m pip install --no-deps --target peers pytorch-cka torch-cka
    PYTHONPATH=peers make bench

What is timed, in alternation in one process with the same threads: from features that are given (a
tensor of 64 images x d in float32 for each layer) to the matrix of layers x layers, of one batch.

    ours           `CkaBatches`: add the batch, then its CKA, in float64
    pytorch-cka    `cka.cka_from_features`, its public function for features (float32)
    its inner      `cka.CKA._accumulate_hsic` and `_compute_cka_matrix`, as its class calls them for
                   one model: each layer's Gram matrix once
    torch_cka      the loop of `torch_cka.CKA.compare` over layers, with its own `_HSIC`, less hooks

Then all are given features whose CKA is known: two layers of the same images that differ by a
rotation and by a large constant, and so have CKA 1, and a layer of independent noise, with CKA 0.
"""

import argparse
import importlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mimprobe.stream import CkaBatches

BATCH = 64
CASES = ((12, 75_264), (48, 18_816))
"""Layers, and features of each: 196 tokens of 384, and 49 tokens of 384."""

Features = list[Tensor]
CkaOf = Callable[[Features], Tensor]


def main() -> None:
    """Print times, ratios, and what each makes of features with a large constant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    print(
        f"CKA, batch {BATCH}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.processor() or platform.machine()}"
    )
    peers = known_peers()
    for layers, width in CASES:
        draw = torch.Generator().manual_seed(0)
        features = [torch.randn(BATCH, width, generator=draw) for _ in range(layers)]
        for name, peer in peers.items():
            time_pairs(f"{layers} x {layers}, d = {width}: {name}", peer, features, pairs)
    check_values({"ours": ours, **peers})


def known_peers() -> dict[str, CkaOf]:
    """Give the packages that can be imported, and say which cannot."""
    found: dict[str, CkaOf] = {}
    for module, package, make in (
        ("cka", "pytorch-cka", pytorch_cka), ("torch_cka", "torch-cka", torch_cka),
    ):  # fmt: skip
        try:
            found |= make(importlib.import_module(module))
        except ImportError as error:
            print(
                f"skipped: {package} cannot be imported ({error}); see the head of this file for "
                "how to install it"
            )
    return found


@torch.inference_mode()
def ours(features: Features) -> Tensor:
    """Add one batch and give its matrix."""
    names = [str(layer) for layer in range(len(features))]
    batches = CkaBatches(tuple(names), BATCH, batch=BATCH)
    batches.add(range(len(features[0])), dict(zip(names, features, strict=True)))
    return batches.cka().value


def pytorch_cka(package: Any) -> dict[str, CkaOf]:
    """Its public function, and what its class does between the pass and the matrix."""

    @torch.inference_mode()
    def inner(features: Features) -> Tensor:
        layers = {str(layer): rows for layer, rows in enumerate(features)}
        one = SimpleNamespace(
            _is_same_model=True, _shared_features=layers, model1_layer_to_module=layers,
            model2_layer_to_module=layers,
        )  # fmt: skip
        count = len(layers)
        sums = torch.zeros(count, count), torch.zeros(count), torch.zeros(count)
        package.CKA._accumulate_hsic(one, *sums)
        return package.CKA._compute_cka_matrix(one, *sums)

    @torch.inference_mode()
    def public(features: Features) -> Tensor:
        return package.cka_from_features(features, features)

    return {"pytorch-cka": public, "its inner": inner}


def torch_cka(package: Any) -> dict[str, CkaOf]:
    """The lines of its `compare` that follow the pass, for one batch."""

    def hsic(first: Tensor, second: Tensor) -> float:
        return package.CKA._HSIC(SimpleNamespace(device="cpu"), first, second)

    @torch.inference_mode()
    def compare(features: Features) -> Tensor:
        sums = torch.zeros(len(features), len(features), 3)
        for i, rows in enumerate(features):
            first = (rows @ rows.t()).fill_diagonal_(0.0)
            sums[i, :, 0] += hsic(first, first)
            for j, columns in enumerate(features):
                second = (columns @ columns.t()).fill_diagonal_(0.0)
                sums[i, j, 1] += hsic(first, second)
                sums[i, j, 2] += hsic(second, second)
        return sums[:, :, 1] / (sums[:, :, 0].sqrt() * sums[:, :, 2].sqrt())

    return {"torch_cka": compare}


def time_pairs(name: str, peer: CkaOf, features: Features, pairs: int) -> None:
    """Run both in alternation and print the quartiles of time and ratio."""
    ours(features), peer(features)
    times = []
    for pair in range(pairs):
        both = {}
        for run in (ours, peer) if pair % 2 else (peer, ours):
            start = time.perf_counter()
            run(features)
            both[run] = time.perf_counter() - start
        times.append((both[ours], both[peer]))
    ratios = [theirs / own for own, theirs in times]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    own, theirs = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    print(
        f"{name:36} {theirs:8.1f} ms, ours {own:7.1f} ms, ratio {middle:5.2f} "
        f"[{low:.2f}, {high:.2f}] over {pairs} pairs"
    )


def check_values(methods: dict[str, CkaOf]) -> None:
    """Compare with the known CKA of features with a constant part of growing size."""
    for constant in (0.0, 1e2, 1e4):
        features = known(constant)
        truth = float64_cka(features)
        for name, method in methods.items():
            found = method(features).double()
            shown = f"{found[0, 1]:9.4f} {found[0, 2]:9.4f}"
            print(
                f"constant {constant:7.0f}: {name:12} same {shown.split()[0]:>9} (truth "
                f"{truth[0, 1]:.4f}), noise {shown.split()[1]:>9} (truth {truth[0, 2]:.4f})"
            )
            if name == "ours" and not torch.allclose(found, truth, atol=2e-3):
                sys.exit("ours is wrong")


def known(constant: float) -> Features:
    """One layer, the same rotated and moved, and independent noise moved as far."""
    draw = torch.Generator().manual_seed(1)
    wide = torch.randn(BATCH, 512, generator=draw, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(512, 512, generator=draw, dtype=torch.float64))
    noise = torch.randn(BATCH, 512, generator=draw, dtype=torch.float64)
    shift = constant * torch.randn(512, generator=draw, dtype=torch.float64)
    return [part.float() for part in (wide, 2 * wide @ turn + shift, noise + shift)]


def float64_cka(features: Sequence[Tensor]) -> Tensor:
    """The definition, in float64, from features less their mean."""
    n = len(features[0])
    ones = torch.ones(n, dtype=torch.float64)
    grams = []
    for rows in features:
        wide = rows.double() - rows.double().mean(0)
        grams.append((wide @ wide.T).fill_diagonal_(0))
    pairs = torch.tensor(
        [
            [
                (k @ m).trace()
                + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
                - 2 / (n - 2) * (ones @ k @ m @ ones)
                for m in grams
            ]
            for k in grams
        ]
    )
    own = pairs.diagonal().sqrt()
    return pairs / torch.outer(own, own)


if __name__ == "__main__":
    main()
