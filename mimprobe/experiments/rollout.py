"""Attention rollout of one image: what a token holds of the patches, through all layers so far.

What belongs here: the rollout's rows, as arrays over the image. What does not: the product of the
layers (`measures.rollout`, where the definition stands), and drawing (`figures.overlay`).
"""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from mimprobe.errors import SiteError, UnknownNameError
from mimprobe.experiments.one_image import Model, Picture, sit
from mimprobe.experiments.overlay import heat_map
from mimprobe.measures.rollout import FUSIONS, attention_rollout, fused_heads
from mimprobe.models.geometry import Geometry
from mimprobe.tables.heat import HeatMap, Overlay, Query


def rollout_overlay(
    model: Model,
    image: Picture,
    *,
    layers: Sequence[int] | None = None,
    queries: Sequence[Query] | None = None,
    fusion: str = "mean",
    transform: Callable[[Image.Image], Tensor] | None = None,
    device: str | torch.device = "auto",
    seed: int = 0,
) -> Overlay:
    """Give the attention rollout of one image up to some layers; see `measures.rollout`.

    Args:
        model: as in `attention_overlay`, without windows.
        image: a file or a PIL image.
        layers: up to which, counted from 0; the last by default.
        queries: as in `attention_overlay`, and `mean` over all patches; by default the class token
            where there is one, else `mean`.
        fusion: of the heads, `mean`, `max` or `min`.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of untrained networks.

    Raises:
        SiteError: the network has no attention, or attends within windows.
        OptionError: a layer or query that it does not have, or more than one image.
        UnknownNameError: no such fusion.
        NonFiniteError: the attention holds NaN or infinity.
    """
    if fusion not in FUSIONS:
        raise UnknownNameError("fusion of heads", fusion, FUSIONS)
    sitting = sit(model, image, transform=transform, device=device, seed=seed)
    places = sitting.places
    if places.reading.window is not None:
        raise SiteError(
            f"model {sitting.model.name!r} ({places.family}) attends within windows and merges "
            "patches between its stages, so its maps have no product; rollout is for ViT and BEiT"
        )
    chosen = [sitting.depth - 1] if layers is None else layers
    wanted = [sitting.attention_site(layer) for layer in chosen]
    usual: Query = "cls" if places.class_token else "mean"
    asked = [
        query if query == "mean" else sitting.checked_query(query) for query in queries or [usual]
    ]
    found = sitting.observe(
        [places[name] for name in places.attention_sites],
        lambda seen: (fused_heads(seen.attention[0], fusion).cpu(), seen.geometry),
    )
    rolled = attention_rollout(mixing for mixing, _ in found.values())
    after = dict(zip(found, rolled, strict=True))
    maps = [
        _heat_map(site.layer, after[site.name], found[site.name][1], query)
        for query in asked
        for site in wanted
    ]
    return sitting.overlay(f"attention rollout, {fusion} of heads", maps)


def _heat_map(layer: int, rolled: Tensor, geometry: Geometry, query: Query) -> HeatMap:
    """Take a query's row of a rollout."""
    first, patch = geometry.prefix_tokens, None
    if query == "cls":
        row = rolled[0]
    elif query == "mean":
        row = rolled[first:].mean(0)
    else:
        assert not isinstance(query, str)
        patch = query
        row = rolled[first + patch[0] * geometry.grid[1] + patch[1]]
    mass = row[first:].numpy().reshape(geometry.grid)
    return heat_map(layer, None, query, mass, geometry, patch)
