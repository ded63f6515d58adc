"""Capture: hooks in, named observations out, in one context manager.

    with capture(model, ["blocks.3.attn.probs"]) as seen:
        model(images)
    seen["blocks.3.attn.probs"].attention      # (batch, head, query, key)

What belongs here: everything that touches a module of somebody's network. What does not: what is
done with an observation, and what goes on inside an attention module (`models.interception`). Hooks
only read, and bring the images to the network's own precision; what is changed for the time of the
context, and put back whatever happens, are the switches that make a network compute probabilities
at all, and those that show MAE's encoder of transformers all patches in their order
(`models.switches`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from mimprobe.errors import SilentSiteError, SiteError
from mimprobe.models.geometry import Geometry
from mimprobe.models.interception import watched
from mimprobe.models.sites import Layout, Site, attention_heads, layout
from mimprobe.models.switches import switched
from mimprobe.shapes import Attention, Tokens

T = TypeVar("T")

ROW_SUM_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""By how much a row of probabilities may miss one; 2e-2 in half precision."""


@dataclass(frozen=True)
class AttentionSeen:
    """Attention probabilities of one layer and batch.

    `attention` has one entry of its first axis for each image, or with windows for each image and
    window, image by image.
    """

    site: str
    layer: int
    attention: Attention
    geometry: Geometry


@dataclass(frozen=True)
class FeaturesSeen:
    """Features of one layer and batch: prefix tokens first, then patches row by row."""

    site: str
    layer: int
    tokens: Tokens
    geometry: Geometry


Observation = AttentionSeen | FeaturesSeen


class Captured(Mapping[str, T], Generic[T]):
    """What each site gave in the last pass, by public name.

    Reading a site that saw nothing is an error: an attention hook that silently captures nothing is
    how wrong figures are made.
    """

    def __init__(self, sites: Iterable[str]) -> None:
        self._sites = tuple(sites)
        self._values: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name in self._values:
            return self._values[name]
        if name not in self._sites:
            raise SiteError(f"site {name!r} was not asked for; capture(model, [{name!r}])")
        raise SilentSiteError(
            f"site {name!r} saw nothing: the network has not run inside the context, or its pass "
            "goes round that module (compiled, scripted, or with a forward of its own)"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def clear(self) -> None:
        """Forget all values, before the next pass."""
        self._values.clear()

    def store(self, name: str, value: T) -> None:
        """Keep what a site gave; called by the hooks."""
        self._values[name] = value


def keep(observation: Observation) -> Observation:
    """Keep an observation as it is: for single layers; all maps of a ViT-B take 15 MB an image."""
    return observation


@contextmanager
def capture(
    model: nn.Module,
    sites: Iterable[str],
    *,
    reduce: Callable[[Observation], Any] = keep,
    gradients: bool = False,
) -> Iterator[Captured[Any]]:
    """Observe sites of a network while it runs.

    Args:
        model: a network of a known family.
        sites: public names, as `layout(model).sites` lists them.
        reduce: called inside the pass with each observation; what it returns is kept instead of it.
            A layer's map can be freed before the next layer makes its own, if `reduce` holds none.
        gradients: leave features in the graph of the pass, so that they can be differentiated.

    Yields:
        The values of the sites, filled by each pass anew.

    Raises:
        UnknownNameError: a site that the network does not have.
        SiteError: the network is of no known family, has no attention, or gave a map of another
            shape or with rows that do not sum to one.
    """
    places = layout(model)
    wanted = [places[name] for name in dict.fromkeys(sites)]
    captured: Captured[Any] = Captured(site.name for site in wanted)
    pass_state = _Pass(places, reduce, captured, gradients=gradients)
    with ExitStack() as stack:
        for switch in places.switches:
            stack.enter_context(switched(switch))
        stack.enter_context(places.stem.register_forward_pre_hook(pass_state.begin))
        for site in wanted:
            if places.reading.map_size is not None:
                # Blocks of windows do not know their map until they see it.
                stack.enter_context(site.block.register_forward_pre_hook(pass_state.block(site)))
            if site.attention is None:
                stack.enter_context(site.block.register_forward_hook(pass_state.features(site)))
                continue
            for switch in site.attention.switches:
                stack.enter_context(switched(switch))
            stack.enter_context(watched(site, pass_state.attention(site)))
        yield captured


class _Pass(Generic[T]):
    """What the hooks of one context share: the sizes seen in the present pass."""

    def __init__(
        self,
        places: Layout,
        reduce: Callable[[Observation], T],
        captured: Captured[T],
        *,
        gradients: bool,
    ) -> None:
        self.places, self.reduce, self.captured = places, reduce, captured
        self.reading, self.gradients = places.reading, gradients
        self.batch = 0
        self.input_size = (0, 0)
        self.maps: dict[str, tuple[int, int]] = {}
        self.checked: set[tuple[str, tuple[int, ...]]] = set()

    def begin(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        images, *others = inputs
        self.captured.clear()
        self.batch, self.input_size = images.shape[0], (images.shape[-2], images.shape[-1])
        only = self.reading.input_size
        if only is not None and only != self.input_size:
            raise SiteError(
                f"this {self.places.family} model takes images of {only[0]} x {only[1]} pixels, "
                f"not of {self.input_size[0]} x {self.input_size[1]}: its position embeddings are "
                "of that size; prepare the images for it"
            )
        return _in_precision_of(module, images), *others

    def block(self, site: Site) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def see(module: nn.Module, inputs: tuple[Any, ...]) -> None:  # noqa: ARG001
            assert self.reading.map_size is not None
            self.maps[site.name] = self.reading.map_size(inputs)

        return see

    def attention(self, site: Site) -> Callable[[Tensor], None]:
        def see(probabilities: Tensor) -> None:
            geometry = self._attention_geometry(site)
            probabilities = probabilities.detach()
            self._check(site, probabilities, geometry)
            seen = AttentionSeen(site.name, site.layer, probabilities, geometry)
            self.captured.store(site.name, self.reduce(seen))

        return see

    def features(self, site: Site) -> Callable[[nn.Module, Any, Any], None]:
        def see(module: nn.Module, inputs: object, output: Any) -> None:  # noqa: ARG001
            tokens = self.reading.tokens(output)
            tokens = tokens if self.gradients else tokens.detach()
            grid = self._grid(site)
            if tokens.ndim == 4:  # (batch, row, column, channel)
                grid = (tokens.shape[1], tokens.shape[2])
                tokens = tokens.flatten(1, 2)
            geometry = Geometry(grid, self._stride(site, grid), self.places.prefix_tokens)
            seen = FeaturesSeen(site.name, site.layer, tokens, geometry)
            self.captured.store(site.name, self.reduce(seen))

        return see

    def _grid(self, site: Site) -> tuple[int, int]:
        return self.maps.get(site.name) or self.reading.grid(self.input_size)

    def _stride(self, site: Site, grid: tuple[int, int]) -> tuple[int, int]:
        """Pixels of the input for each step on the map of a site."""
        if self.reading.patch is None:
            return round(self.input_size[0] / grid[0]), round(self.input_size[1] / grid[1])
        height, width = self.reading.patch
        return height * site.scale, width * site.scale

    def _attention_geometry(self, site: Site) -> Geometry:
        grid = self._grid(site)
        stride, prefix = self._stride(site, grid), self.places.prefix_tokens
        if self.reading.window is None:
            return Geometry(grid, stride, prefix)
        return Geometry(grid, stride, prefix, **self.reading.window(site.block)._asdict())

    def _check(self, site: Site, probabilities: Tensor, geometry: Geometry) -> None:
        """Refuse what is not a map of probabilities, on the first batch of each shape."""
        shape = tuple(probabilities.shape)
        if (site.name, shape) in self.checked:
            return
        tokens = geometry.prefix_tokens + geometry.keys
        expected = (self.batch * geometry.windows, attention_heads(site), tokens, tokens)
        if shape != expected:
            raise SiteError(
                f"site {site.name!r} gave a map of shape {shape} where {expected} was expected "
                "(batch x windows, heads, queries, keys)"
            )
        # The first image is enough to tell, and NaN is left to the measures, which know the image.
        sums = probabilities[:1].sum(-1, dtype=torch.float32)
        tolerance = ROW_SUM_TOLERANCE.get(probabilities.dtype, 2e-2)
        worst = (sums - 1).abs().max().item()
        if worst > tolerance:
            raise SiteError(
                f"site {site.name!r} gave rows that sum to one only within {worst:.3g}: not "
                "attention probabilities"
            )
        self.checked.add((site.name, shape))


def _in_precision_of(stem: nn.Module, images: Tensor) -> Tensor:
    """Round images to what a network in half precision takes, or raise them to its float64."""
    weight = next(stem.parameters(), images)
    return images.to(weight.dtype) if weight.is_floating_point() else images
