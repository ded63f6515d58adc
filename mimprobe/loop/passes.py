"""Forward passes with everything that analyzers want of them, as large as the device allows.

What belongs here: one pass of one model, and making passes smaller where memory runs out. What
does not: where batches come from (`batches`), and what is remembered of them (`tally`).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mimprobe.analyzers import Analyzer
from mimprobe.analyzers.analyzer import Measured, Pieces
from mimprobe.analyzers.view import views
from mimprobe.errors import DeviceMemoryError, NonFiniteError, OptionError
from mimprobe.hooks import Observation, capture
from mimprobe.loop.batches import Batch
from mimprobe.models.sites import Layout
from mimprobe.zoo.loaded import LoadedModel

Found = dict[str, dict[str, Measured]]
"""What was measured, by analyzer and site."""

MEMORY_WORDS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""What PyTorch says besides `OutOfMemoryError`: its CPU allocator, the driver, and the libraries
that allocate for themselves."""


class Passes:
    """Forward passes of one model, with what each analyzer wants of its sites."""

    def __init__(self, model: LoadedModel, places: Layout, tools: Sequence[Analyzer]) -> None:
        self.model, self.size = model, torch.Size()
        wanted = [(tool, frozenset(tool.sites(places))) for tool in tools]
        self.takers = {
            site: takers
            for site in places.sites
            if (takers := [tool for tool, sites in wanted if site in sites])
        }

    def run(self, pixels: Tensor, ids: Sequence[str]) -> Found:
        """Run the network once and give what was measured, by analyzer and site."""
        if not self.takers:
            return {}
        if self.size not in (torch.Size(), pixels.shape[1:]):
            raise OptionError(
                f"the transform of model {self.model.name!r} gave images of "
                f"{list(pixels.shape[1:])} after some of {list(self.size)}; cut or scale all to one"
                " size, or places in the image would be mixed up"
            )
        self.size = pixels.shape[1:]
        with capture(self.model.module, self.takers, reduce=self._reduce) as captured:
            self.model.module(pixels)
        measured: Found = {}
        for site in self.takers:
            outcome = captured[site]
            if isinstance(outcome, NonFiniteError):
                raise NonFiniteError(
                    f"model {self.model.name!r} gave NaN or infinity in the {outcome} at {site} on "
                    f"image {ids[outcome.row or 0]!r}; try precision float32, another image, or "
                    "look at its weights"
                )
            for name, values in outcome.items():
                measured.setdefault(name, {})[site] = values
        return measured

    def _reduce(self, seen: Observation) -> dict[str, Measured] | NonFiniteError:
        """Feed one layer to its analyzers, piece by piece, and join the pieces."""
        takers = self.takers[seen.site]
        pieces = {tool.name: Pieces() for tool in takers}
        try:
            for view in views(seen):
                for tool in takers:
                    pieces[tool.name].add(tool.measure(view))
        except NonFiniteError as error:
            return error
        return {name: found.joined() for name, found in pieces.items()}


class PassSize:
    """The most images that go through the networks at once: halved where memory runs out.

    Attributes:
        size: the most images of a pass.
        note: what happened to it, for people; empty where all passes fitted.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.size, self.device, self.note = size, device, ""

    def halve(self, images: int, reason: str) -> None:
        """Note that a pass of so many images did not fit.

        Raises:
            DeviceMemoryError: it was a single image.
        """
        if images == 1:
            raise DeviceMemoryError(
                f"{self.device} ran out of memory with a single image ({reason}); compare fewer "
                "models at once, or choose another --device or a smaller --precision"
            )
        self.size = images // 2
        self.note = (
            f"{self.device} ran out of memory; passes are of at most {self.size} images from then "
            "on, which changes no number."
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def measure(
    passes: Mapping[str, Passes], part: Batch, ids: Sequence[str], device: torch.device
) -> dict[str, Found] | str:
    """Run every model on some images; give what was found by model, or why memory ran out.

    The error itself is not given: it would hold on to the tensors of the pass.
    """
    try:
        return {
            name: one.run(part.pixels[name].to(device, non_blocking=True), ids)
            for name, one in passes.items()
        }
    except RuntimeError as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        memory = isinstance(error, torch.OutOfMemoryError)
        if not memory and not any(words in str(error) for words in MEMORY_WORDS):
            raise
        return told
