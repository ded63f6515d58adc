"""Attention of one image: where chosen queries look, in chosen layers and heads.

What belongs here: rows of attention, as arrays over the image. What does not: preparing the image
(`one_image`), products of layers (`rollout`), and drawing (`figures.overlay`).

Layers and heads count from 0. Queries are rows and columns of the finest grid, that of the stem: in
the coarser stages of Swin the query is the patch that holds that place of the image.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.experiments.one_image import Model, Picture, sit
from mimprobe.hooks import AttentionSeen
from mimprobe.models.geometry import Geometry, keys_of
from mimprobe.models.sites import Site, attention_heads
from mimprobe.tables.heat import HeatMap, Overlay, Query


def attention_overlay(
    model: Model,
    image: Picture,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[Query] = ("centre",),
    transform: Callable[[Image.Image], Tensor] | None = None,
    device: str | torch.device = "auto",
    seed: int = 0,
) -> Overlay:
    """Give the attention of some queries of one image, a map for each query, layer and head.

    In a windowed model a map covers the query's window, at its true place in the image.

    Args:
        model: a reference, a loaded model, or a network with `transform`.
        image: a file or a PIL image.
        layers: counted from 0; the first, the middle and the last by default.
        heads: counted from 0; all by default.
        queries: `centre`, `cls`, or row and column of a patch.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of untrained networks.

    Raises:
        SiteError: the network has no attention that can be observed.
        OptionError: a layer, head or query that it does not have, or more than one image.
        NonFiniteError: the attention holds NaN or infinity.
    """
    sitting = sit(model, image, transform=transform, device=device, seed=seed)
    usual = sorted({0, sitting.depth // 2, sitting.depth - 1})
    sites = [sitting.attention_site(layer) for layer in (usual if layers is None else layers)]
    asked = [sitting.checked_query(query) for query in queries]
    wanted = {site.name: _heads(site, heads) for site in sites}
    found = sitting.observe(
        sites,
        lambda seen: {
            query: [
                _heat_map(seen, sitting.places[seen.site].scale, query, head)
                for head in wanted[seen.site]
            ]
            for query in asked
        },
    )
    maps = [heat for query in asked for site in sites for heat in found[site.name][query]]
    return sitting.overlay("attention of the query", maps)


def _heads(site: Site, heads: Sequence[int] | None) -> Sequence[int]:
    """Check the heads asked for, or list all."""
    count = attention_heads(site)
    for head in heads or ():
        if not 0 <= head < count:
            raise OptionError(
                f"layer {site.layer + 1} has {count} heads, so there is no head {head}; choose 0 "
                f"to {count - 1}"
            )
    return range(count) if heads is None else heads


def _heat_map(seen: AttentionSeen, scale: int, query: Query, head: int) -> HeatMap:
    """Take a query's row of attention, and put its keys at their places in the image."""
    geometry = seen.geometry
    first = geometry.prefix_tokens
    if isinstance(query, str):
        mass = seen.attention[0, head, 0, first:].double().cpu().numpy()
        return heat_map(seen.layer, head, query, mass.reshape(geometry.grid), geometry, None)
    patch = query[0] // scale, query[1] // scale
    keys = keys_of(geometry, patch)
    row = seen.attention[keys.window, head, first + keys.row, first:].double().cpu().numpy()
    visible, at = keys.visible.numpy(), keys.places.numpy()
    mass = np.full(geometry.grid, np.nan)
    mass[at[visible, 0], at[visible, 1]] = row[visible]
    return heat_map(seen.layer, head, query, mass, geometry, patch)


def heat_map(
    layer: int,
    head: int | None,
    query: Query,
    mass: npt.NDArray[np.float64],
    geometry: Geometry,
    patch: tuple[int, int] | None,
) -> HeatMap:
    """Put a map on record; what it does not hold of the row lies elsewhere."""
    elsewhere = max(0.0, 1 - float(np.nansum(mass)))  # rows sum to one
    return HeatMap(layer, head, query, mass, geometry.stride, patch, elsewhere)
