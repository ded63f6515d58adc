"""Features of many changed networks, in which what precedes the first change is computed once.

What belongs here: one batch through the intact network and through every changed one. What does
not: which networks those are (`variants`), and image sets (`passes`).

A network whose first changed block is number f gives its block f what the intact network gives it.
So the intact network runs once and every block's input is kept; a changed network then runs from
block f on, in a shell: a copy without tensors of its own, in which the blocks before f pass on what
they are given and block f is fed what was kept. All exchanges of two out of L blocks take
L + sum over m < L of m (m + 1) evaluations of a block in this way, 584 for L = 12, and dropping the
last k blocks takes none beyond the intact network's, for all k together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.experiments.layers.variants import Variant
from mimprobe.models.blocks import places
from mimprobe.models.copies import shared_copy
from mimprobe.models.sites import layout
from mimprobe.readout.features import POOLINGS
from mimprobe.shapes import Images, Pooled, Tokens


class Chain:
    """A network and its changed forms, of which one batch after the other is taken.

    Features are those of the last block behind the network's final norm (and behind its `fc_norm`,
    for networks that have their norm there), or those that block `layer` hands on, without a norm.
    """

    def __init__(
        self, module: nn.Module, variants: Sequence[Variant], *, layer: int | None, pooling: str
    ) -> None:
        """Prepare the shells.

        Args:
            module: the intact network; it is left as it is.
            variants: the changed ones.
            layer: block that is read out, from 0; None for the last one and the final norm.
            pooling: `mean` of the patch tokens, `cls`, or `both`.

        Raises:
            OptionError: no such block, or a class token where there is none.
            UnknownNameError: another pooling.
        """
        check_reading(module, layer, pooling)
        self.layer, self.pooling = layer, pooling
        self.prefix = layout(module).prefix_tokens
        self._kept = _Kept()
        last = len(layout(module).feature_sites) if layer is None else layer + 1
        self._intact = self._shell(module, None)
        self._shells = [
            self._shell(variant.module, variant.first) if variant.first < last else None
            for variant in variants
        ]

    def features(self, pixels: Images) -> list[Pooled]:
        """Give the features of a batch, of each changed network in turn."""
        intact = self._read(self._intact, pixels)
        found = [intact if shell is None else self._read(shell, pixels) for shell in self._shells]
        self._kept.inputs.clear()
        return found

    def _shell(self, module: nn.Module, first: int | None) -> nn.Module:
        """Copy a network's frame round blocks that are shared, skipped, fed or noted."""
        shell = shared_copy(module)
        for number, place in enumerate(places(module)):
            shell.set_submodule(place.path, self._stands_in(place.block, number, first))
        return shell

    def _stands_in(self, block: nn.Module, place: int, first: int | None) -> nn.Module:
        """Give what a shell has in the place of a block; the intact network notes all inputs."""
        if place == self.layer:
            block = _Read(block, self._kept)
        elif self.layer is not None and place > self.layer:
            return _Skipped()
        if first is None:
            return _Noted(block, place, self._kept)
        if place == first:
            return _Fed(block, place, self._kept)
        return block if place > first else _Skipped()

    def _read(self, shell: Any, pixels: Images) -> Pooled:
        tokens = shell.forward_features(pixels)
        if self.layer is not None:
            return self._pooled(self._kept.output)
        norm = getattr(shell, "fc_norm", None)
        return self._pooled(tokens, nn.Identity() if norm is None else norm)

    def _pooled(self, tokens: Tensor, norm: nn.Module | None = None) -> Pooled:
        """Pool tokens, or a map with the channels last."""
        flat: Tokens = tokens.flatten(1, -2)
        mean = flat[:, self.prefix :].double().mean(1).to(flat.dtype)
        parts = {"mean": [mean], "cls": [flat[:, 0]], "both": [mean, flat[:, 0]]}[self.pooling]
        return torch.cat([part if norm is None else norm(part) for part in parts], dim=1)


def check_reading(module: nn.Module, layer: int | None, pooling: str) -> None:
    """Refuse a layer or a pooling that the network does not have.

    Raises:
        OptionError: no such block, or a class token where there is none.
        UnknownNameError: another pooling.
    """
    if pooling not in POOLINGS:
        raise UnknownNameError("pooling", pooling, POOLINGS)
    found = layout(module)
    depth = len(found.feature_sites)
    if layer is not None and not 0 <= layer < depth:
        raise OptionError(
            f"layer={layer} (--layer {layer + 1}) of a network of {depth} blocks; choose 0 to "
            f"{depth - 1} (--layer 1 to {depth})"
        )
    if pooling != "mean" and not found.class_token:
        raise OptionError(
            f"this {found.family} model has no class token for pooling={pooling!r}; use 'mean'"
        )


@dataclass
class _Kept:
    """What is kept of the intact pass: each block's input; and of any, the read block's output."""

    inputs: dict[int, Tensor] = field(default_factory=dict)
    output: Tensor = field(default_factory=lambda: torch.empty(0))


class _Skipped(nn.Module):
    """A block whose work is not needed."""

    def forward(self, tokens: Tensor, *rest: Any, **named: Any) -> Tensor:  # noqa: ARG002
        return tokens


class _Noted(nn.Module):
    """A block whose input is kept."""

    def __init__(self, block: nn.Module, place: int, kept: _Kept) -> None:
        super().__init__()
        self.block, self.place, self.kept = block, place, kept

    def forward(self, tokens: Tensor, *rest: Any, **named: Any) -> Any:
        self.kept.inputs[self.place] = tokens
        return self.block(tokens, *rest, **named)


class _Fed(_Noted):
    """A block that is given what was kept."""

    def forward(self, tokens: Tensor, *rest: Any, **named: Any) -> Any:  # noqa: ARG002
        return self.block(self.kept.inputs[self.place], *rest, **named)


class _Read(nn.Module):
    """A block whose output is kept."""

    def __init__(self, block: nn.Module, kept: _Kept) -> None:
        super().__init__()
        self.block, self.kept = block, kept

    def forward(self, *given: Any, **named: Any) -> Any:
        self.kept.output = self.block(*given, **named)
        return self.kept.output
