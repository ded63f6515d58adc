"""Similarity of layers: unbiased linear CKA, within each model and between models."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.view import POOLINGS, View, features_of
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.measures.similarity import LEAST_IMAGES
from mimprobe.models.sites import Layout
from mimprobe.stream import choose_cka_stream
from mimprobe.tables import PAIR_COLUMNS


class Place(NamedTuple):
    """One layer of one model."""

    model: str
    site: str
    layer: int


class Cka:
    """Which layers hold the same information, up to rotation and scale."""

    name = "cka"
    columns: tuple[str, ...] = PAIR_COLUMNS
    definition = (
        "CKA = HSIC(K,L) / sqrt(HSIC(K,K) HSIC(L,L)) with the unbiased HSIC of the linear kernels "
        "of pooled features; standard error by jackknife over groups of images"
    )

    def __init__(self, *, tokens: str = "mean", budget_bytes: int = 2 << 30) -> None:
        """Choose what is pooled (`mean` of the patch tokens, or `cls`) and the memory for it.

        Raises:
            UnknownNameError: another choice of tokens.
        """
        if tokens not in POOLINGS:
            raise UnknownNameError("choice of tokens", tokens, POOLINGS)
        self.tokens, self.budget_bytes = tokens, budget_bytes
        self._places: tuple[Place, ...] = ()
        self._images = 0
        self._alike: dict[str, list[float]] = {}
        self._stream: Any = None  # CkaFeatures or CkaSums, once the widths are known

    def sites(self, places: Layout) -> tuple[str, ...]:
        """The output of every block.

        Raises:
            OptionError: `tokens="cls"` for a network without a class token.
        """
        if self.tokens == "cls" and not places.prefix_tokens:
            raise OptionError(f"this {places.family} model has no class token; use tokens='mean'")
        return places.feature_sites

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:
        """Fix the order of the layers, and forget an earlier run.

        Raises:
            OptionError: fewer than four images.
        """
        if n_images < LEAST_IMAGES:
            raise OptionError(
                f"cka needs at least {LEAST_IMAGES} images, here are {n_images}; show more images, "
                "or choose other analyzers"
            )
        self._images, self._stream, self._alike = n_images, None, {}
        self._places = tuple(
            Place(model, site, place[site].layer)
            for model, place in places.items()
            for site in self.sites(place)
        )

    def measure(self, view: View) -> Measured:
        """Pool the tokens of each image into one vector.

        Raises:
            NonFiniteError: a vector holds NaN or infinity.
        """
        return {"pooled": features_of(view).pooled(self.tokens)}

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Remember the vectors of a batch."""
        vectors = {
            _key(place): measured[place.model][place.site]["pooled"].cpu() for place in self._places
        }
        if self._stream is None:
            widths = {key: vector.shape[1] for key, vector in vectors.items()}
            self._stream = choose_cka_stream(widths, self._images, budget_bytes=self.budget_bytes)
        self._stream.add(images, vectors)

    def merge(self, other: "Cka") -> None:
        """Take over the other's images."""
        if self._stream is None:
            self._places, self._stream = other._places, other._stream
        elif isinstance(other._stream, type(self._stream)):
            self._stream.merge(other._stream)
        elif other._stream is not None:
            raise OptionError("kept features and sums cannot be merged; begin with equal n_images")

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """One row for each ordered pair of layers, of the same model or of two."""
        if self._stream is None:
            return pd.DataFrame(columns=list(PAIR_COLUMNS))
        matrix = self._stream.cka()
        self._alike = {} if matrix.without is None else self._means_without(matrix.without)
        pairs = list(itertools.product(self._places, repeat=2))
        frame = pd.DataFrame(
            {
                "model": [one.model for one, _ in pairs],
                "kind": [kinds[one.model] for one, _ in pairs],
                "site": [one.site for one, _ in pairs],
                "layer": [one.layer for one, _ in pairs],
                "other_model": [other.model for _, other in pairs],
                "other_kind": [kinds[other.model] for _, other in pairs],
                "other_site": [other.site for _, other in pairs],
                "other_layer": [other.layer for _, other in pairs],
                "metric": "cka",
                "unit": "1",
                "value": matrix.value.flatten().numpy(),
                "std": np.nan,
                "se": matrix.se.flatten().numpy(),
                "n": matrix.images,
                "note": matrix.note,
            }
        )
        return frame[list(PAIR_COLUMNS)]

    def describe(self) -> dict[str, Any]:
        """Definition, unit and tokens, and what the error of a model's mean CKA follows from."""
        return {
            "definition": self.definition, "units": {"cka": "1"}, "tokens": self.tokens,
            "alike": self._alike,
        }  # fmt: skip

    def _means_without(self, left: Float64[Tensor, "group site site"]) -> dict[str, list[float]]:
        """By model, its mean CKA of two different layers without each jackknife group."""
        means = {}
        for model in dict.fromkeys(place.model for place in self._places):
            own = [at for at, place in enumerate(self._places) if place.model == model]
            one, other = torch.combinations(torch.tensor(own)).unbind(1)
            if len(own) > 1:
                means[model] = left[:, one, other].mean(1).tolist()
        return means


def _key(place: Place) -> str:
    """Name a layer of a model in one string; a tab occurs in no site."""
    return f"{place.model}\t{place.site}"
