"""One model, read out layer by layer.

What belongs here: which features and tokens are taken, and what is asked of them. What does not:
how classes are read out (`readout`), and tables (`readout_rows`).

Features are taken in one pass over each set, for all layers and poolings. An attentive probe takes
one more pass for each layer, as the tokens of all layers would seldom fit.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.progress import Progress
from mimprobe.readout import READOUTS, SEEDLESS, choices_told, require_enough
from mimprobe.readout.attentive import attentive_probe
from mimprobe.readout.features import layer_features, layer_tokens
from mimprobe.readout.labels import guessed_correct, labels_of
from mimprobe.zoo.loaded import LoadedModel

ATTENTIVE = "attentive"
"""The read-out that takes tokens, and pools them itself."""

KNOWN = (*READOUTS, ATTENTIVE)


def require_readouts(names: Sequence[str]) -> None:
    """Refuse read-outs that do not exist.

    Raises:
        UnknownNameError: no such read-out.
        OptionError: none is named.
    """
    if not names:
        raise OptionError(f"name at least one read-out: {', '.join(KNOWN)}")
    for name in names:
        if name not in KNOWN:
            raise UnknownNameError("read-out", name, KNOWN)


class Outcome(NamedTuple):
    """Whether a read-out of one layer and pooling is right, by seed and image; what it chose."""

    model: str
    site: str
    pooling: str
    readout: str
    correct: Bool[Tensor, "seed query"]
    note: str


class ModelReadouts:
    """One model, and the images that it is read out on."""

    def __init__(
        self, model: LoadedModel, train: ImageSet, val: ImageSet, *, seeds: range,
        batch_size: int, device: torch.device, budget_bytes: int,
    ) -> None:  # fmt: skip
        self.model, self.train, self.val, self.seeds = model, train, val, seeds
        self.batch_size, self.device, self.budget_bytes = batch_size, device, budget_bytes

    def steps(
        self, sites: Sequence[str], poolings: Sequence[str], readouts: Sequence[str]
    ) -> Iterator[tuple[str, Callable[[], Iterator[Outcome]]]]:
        """Give what reads every site out in every way, by name, one for each pass over the sets."""
        frozen = [name for name in readouts if name in READOUTS]
        if frozen:
            yield "frozen", partial(self._frozen, sites, poolings, frozen)
        for site in sites if ATTENTIVE in readouts else ():
            yield f"{ATTENTIVE}-{site}", partial(self._attentive, site, chance=not frozen)

    def _frozen(
        self, sites: Sequence[str], poolings: Sequence[str], readouts: Sequence[str]
    ) -> Iterator[Outcome]:
        known, asked = (
            layer_features(
                self.model, images, sites, poolings=poolings, batch_size=self.batch_size,
                device=self.device, budget_bytes=self.budget_bytes,
            )
            for images in (self.train, self.val)
        )  # fmt: skip
        labels, truth, _ = labels_of(self.train, self.val)
        require_enough(readouts, labels)  # some images may have been skipped
        bar = Progress(f"read-outs of {self.model.name}", len(known) * len(readouts), unit="fits")
        with bar:
            for (site, pooling), features in known.items():
                for name in readouts:
                    found = _read(name, features, labels, asked[site, pooling], truth, self.seeds)
                    yield Outcome(self.model.name, site, pooling, name, *found)
                    bar.advance(1)
                guessed = guessed_correct(labels, truth)[None]
                yield Outcome(self.model.name, site, pooling, "chance", guessed, "")

    def _attentive(self, site: str, *, chance: bool) -> Iterator[Outcome]:
        """Read one site's tokens out."""
        tokens, query_tokens = (
            layer_tokens(
                self.model, images, site, batch_size=self.batch_size, device=self.device,
                budget_bytes=self.budget_bytes,
            )
            for images in (self.train, self.val)
        )  # fmt: skip
        labels, truth, _ = labels_of(self.train, self.val)
        probes = [attentive_probe(tokens, labels, seed=seed) for seed in self.seeds]
        correct = torch.stack([one.probe.classes(query_tokens) == truth for one in probes])
        note = choices_told(ATTENTIVE, [float(one.steps) for one in probes])
        yield Outcome(self.model.name, site, "tokens", ATTENTIVE, correct, note)
        if chance:
            guessed = guessed_correct(labels, truth)[None]
            yield Outcome(self.model.name, site, "tokens", "chance", guessed, "")


def _read(
    name: str, features: Tensor, labels: Tensor, query_features: Tensor, truth: Tensor, seeds: range
) -> tuple[Tensor, str]:
    """Tell by seed and image whether a read-out is right, and what it chose."""
    used = seeds[:1] if name in SEEDLESS else seeds
    reads = [READOUTS[name](features, labels, query_features, truth, seed=seed) for seed in used]
    told = choices_told(name, [read.chosen for read in reads])
    return torch.stack([read.correct for read in reads]), told
