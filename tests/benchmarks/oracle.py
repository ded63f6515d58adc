"""The definitions of the attention metrics once more, in float64, for the benchmarks' own check.

What belongs here: a slow truth beside which a timed run is laid. What does not: timing.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from mimprobe.analyzers import make_analyzers
from mimprobe.analyzers.view import views
from mimprobe.hooks import AttentionSeen, capture
from mimprobe.models.geometry import Geometry, patch_distances
from mimprobe.models.sites import layout
from mimprobe.zoo.loaded import LoadedModel

TOLERANCE = 1e-3


def check_tables(
    model: LoadedModel, images: Tensor, metrics: Sequence[str], grid: tuple[int, int],
    stride: tuple[int, int],
) -> None:  # fmt: skip
    """Compare what is measured with float64 definitions, written out on the captured maps.

    For networks with one prefix token; ends the run where a value is wrong.
    """
    tools = make_analyzers(metrics)
    places = layout(model.module)
    distances = patch_distances(Geometry(grid, stride, 1), torch.device("cpu")).double()
    worst = dict.fromkeys(metrics, 0.0)
    depth = len(places.attention_sites)
    for layer in (0, depth // 2, depth - 1):
        site = places.attention_sites[layer]
        with torch.inference_mode(), capture(model.module, [site]) as captured:
            model.module(images)
        seen = captured[site]
        assert isinstance(seen, AttentionSeen)
        truths = attention_truths(seen.attention.double(), distances)
        pieces = [[tool.measure(view) for tool in tools] for view in views(seen)]
        for place, metric in enumerate(metrics):
            found = torch.cat([piece[place][metric] for piece in pieces]).mean(0)
            error = (found / truths[metric] - 1).abs().max().item()
            worst[metric] = max(worst[metric], error)
    told = ", ".join(f"{metric} {error:.1e}" for metric, error in worst.items())
    print(f"{'':16} largest relative error against float64: {told}")
    if max(worst.values()) > TOLERANCE:
        sys.exit("a measured value is wrong")


def attention_truths(attention: Tensor, distances: Tensor) -> dict[str, Tensor]:
    """Write the definitions out, in float64, from a map with one prefix token; by head."""
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
