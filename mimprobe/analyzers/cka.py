"""Similarity of layers: unbiased linear CKA, within each model and between models."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.layer_pairs import Place, pair_table, places_of
from mimprobe.analyzers.pooled import require_images
from mimprobe.analyzers.view import POOLINGS, View, features_of
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.measures.similarity import LEAST_IMAGES
from mimprobe.models.sites import Layout
from mimprobe.stream import CkaBatches, CkaSums, State, choose_cka_stream, cka_sums_bytes
from mimprobe.stream.minibatch import BATCH
from mimprobe.tables import PAIR_COLUMNS

TOKENS = (*POOLINGS, "flattened")
"""What is compared: one vector for each image, or the whole map."""

COLLAPSED = "one of the two layers gives all images the same features"
"""Why there is no CKA where its value is empty."""

BUDGET_BYTES = 2 << 30
"""Memory for what is kept, by default."""


class Cka:
    """Which layers hold the same information, up to rotation and scale."""

    name = "cka"
    columns: tuple[str, ...] = PAIR_COLUMNS
    least_images = LEAST_IMAGES
    definition = "CKA = HSIC(K,L) / sqrt(HSIC(K,K) HSIC(L,L)) with the unbiased HSIC of the linear "
    exact = "kernels of pooled features; standard error by jackknife over groups of images"
    batched = (
        "kernels of all patch tokens side by side, each HSIC summed over batches of {batch} images "
        "before the ratio: the value depends on the size of these batches, not of those of the "
        "pass; standard error by jackknife over batches"
    )

    def __init__(
        self,
        *,
        tokens: str = "mean",
        stage: int | None = None,
        batch: int = BATCH,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        """Choose features and memory.

        Args:
            tokens: `mean` of the patch tokens, `cls`, or `flattened`, all of them side by side.
            stage: of networks with stages (Swin, ResNet), only the layers of this one, from 0.
            batch: images of one HSIC estimate of flattened tokens.
            budget_bytes: memory for pooled features, beyond which they are kept on disk.

        Raises:
            UnknownNameError: another choice of tokens.
            OptionError: a batch of fewer than four images.
        """
        if tokens not in TOKENS:
            raise UnknownNameError("choice of tokens", tokens, TOKENS)
        if batch < LEAST_IMAGES:
            raise OptionError(f"a batch of {batch} images; HSIC needs at least {LEAST_IMAGES}")
        self.tokens, self.stage, self.batch = tokens, stage, batch
        self.budget_bytes = budget_bytes
        self._places: tuple[Place, ...] = ()
        self._images = 0
        self._widths: dict[str, int] = {}
        self._alike: dict[str, list[float]] = {}
        self._stream: Any = None  # CkaFeatures, CkaSums or CkaBatches, once the widths are known

    def sites(self, places: Layout) -> tuple[str, ...]:
        """The output of every block, or of every block of the stage; all where there are none.

        Raises:
            OptionError: `tokens="cls"` for a network without a class token, or no such stage.
        """
        if self.tokens == "cls" and not places.class_token:
            raise OptionError(f"this {places.family} model has no class token; use tokens='mean'")
        sites = places.feature_sites
        stages = sorted({int(site.split(".")[1]) for site in sites if site.startswith("stages.")})
        if self.stage is None or not stages:
            return sites
        if self.stage not in stages:
            raise OptionError(
                f"this {places.family} model has {len(stages)} stages; stage={self.stage} "
                f"(--cka-stage {self.stage + 1}) is none of them"
            )
        return tuple(site for site in sites if site.startswith(f"stages.{self.stage}."))

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:
        """Fix the order of the layers, and forget an earlier run.

        Raises:
            OptionError: fewer than four images.
        """
        require_images(self.name, n_images, self.least_images)
        self._images, self._stream, self._alike = n_images, None, {}
        self._places = tuple(
            place
            for model, layout in places.items()
            for place in places_of(model, layout, self.sites(layout))
        )

    def measure(self, view: View) -> Measured:
        """Make one vector of each image.

        Raises:
            NonFiniteError: a vector holds NaN or infinity.
        """
        seen = features_of(view)
        whole = self.tokens == "flattened"
        return {"features": seen.flattened() if whole else seen.pooled(self.tokens)}

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Remember the vectors of a batch."""
        vectors = {
            place.key: measured[place.model][place.site]["features"] for place in self._places
        }
        if self._stream is None:
            self._start({key: vector.shape[1] for key, vector in vectors.items()})
        self._stream.add(images, vectors)

    def _start(self, widths: dict[str, int]) -> None:
        self._widths = widths
        if self.tokens == "flattened":
            self._stream = CkaBatches(tuple(widths), self._images, batch=self.batch)
        else:
            self._stream = choose_cka_stream(widths, self._images, budget_bytes=self.budget_bytes)

    def merge(self, other: "Cka") -> None:
        """Take over the other's images."""
        if self._stream is None:
            self._places, self._stream = other._places, other._stream
            self._images, self._widths = other._images, other._widths
        elif isinstance(other._stream, type(self._stream)):
            self._stream.merge(other._stream)
        elif other._stream is not None:
            raise OptionError("kept features and sums cannot be merged; begin with equal n_images")

    def state(self) -> State:
        """Give the widths of the layers, and the vectors or their sums."""
        stream = None if self._stream is None else self._stream.state()
        return {"widths": self._widths, "stream": stream}

    def restore(self, state: State) -> None:
        """Take over a state of the same layers and as many images.

        Raises:
            OptionError: it is of other layers.
        """
        self._stream = None
        if state["stream"] is not None:
            self._start(state["widths"])
            self._stream.restore(state["stream"])

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """One row for each ordered pair of layers, of the same model or of two."""
        if self._stream is None:
            return pd.DataFrame(columns=list(PAIR_COLUMNS))
        matrix = self._stream.cka()
        self._alike = {} if matrix.without is None else self._means_without(matrix.without)
        table = pair_table(
            self._places, kinds, self.name, matrix.value, matrix.se,
            images=matrix.images, note=matrix.note,
        )  # fmt: skip
        table["note"] = table["note"].mask(table["value"].isna(), COLLAPSED)
        return table

    def describe(self) -> dict[str, Any]:
        """Definition, unit, features, memory, and what the error of a mean CKA follows from."""
        batched = self.tokens == "flattened"
        how = self.batched.format(batch=self.batch) if batched else self.exact
        described: dict[str, Any] = {
            "definition": self.definition + how, "units": {"cka": "1"}, "tokens": self.tokens,
            "budget_bytes": self.budget_bytes, "alike": self._alike,
        }  # fmt: skip
        if self.stage is not None:
            described["stage"] = self.stage
        if batched:
            described["batch"] = self.batch
            described["images_left_out"] = self._stream.left_out if self._stream else 0
        if self._widths:
            described["memory"] = self._memory()
        return described

    def _means_without(self, left: Float64[Tensor, "group site site"]) -> dict[str, list[float]]:
        """By model, its mean CKA of two different layers without each jackknife group."""
        means = {}
        for model in dict.fromkeys(place.model for place in self._places):
            own = [at for at, place in enumerate(self._places) if place.model == model]
            one, other = torch.combinations(torch.tensor(own)).unbind(1)
            found = left[:, one, other].mean(1)
            if len(own) > 1 and bool(found.isfinite().all()):
                means[model] = found.tolist()
        return means

    def _memory(self) -> str:
        """Say what is kept, how much it is, and where; known once the first batch was seen."""
        columns = sum(self._widths.values())
        if isinstance(self._stream, CkaBatches):
            return (
                f"features of {self.batch} images at a time: {4 * self.batch * columns / 1e6:,.1f} "
                "MB, while the images come in their order"
            )
        if isinstance(self._stream, CkaSums):
            size = cka_sums_bytes(list(self._widths.values()))
            return f"sums in float64: {size / 1e6:,.1f} MB, whatever the number of images"
        size = 4 * self._images * columns
        where = "in memory" if size <= self.budget_bytes else "in a temporary file"
        return f"pooled features of {self._images:,} images: {size / 1e6:,.1f} MB {where}"
