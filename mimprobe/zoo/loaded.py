"""A loaded network, with everything that a comparison needs to know about it."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor, nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.zoo.card import Card
from mimprobe.zoo.fill import LoadReport


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network that is ready to be probed.

    Attributes:
        name: how tables and figures call it.
        module: the network, in evaluation mode.
        preprocessing: what it expects of an image; None where the user's own transform is used.
        kind: of training, one of `tables.KINDS`.
        reference: what the user asked for.
        architecture: timm's name for it.
        sha256: of the weights file, or of the state where there was no one file.
        load_report: what became of every tensor of the file.
        card: its card, if it has one.
        custom_transform: the user's own way from a PIL image to a tensor.
        arguments: what timm built it with besides its name.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing | None
    kind: str
    reference: str
    architecture: str
    sha256: str
    load_report: LoadReport | None = None
    card: Card | None = None
    custom_transform: Callable[[Image.Image], Tensor] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """What turns a PIL image into this network's (3, height, width) input."""
        if self.custom_transform is not None:
            return self.custom_transform
        assert self.preprocessing is not None
        transform: Callable[[Image.Image], Tensor] = self.preprocessing.transform()
        return transform

    def _repr_html_(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        size = self.preprocessing.input_size if self.preprocessing else ("?", "?")
        report = "" if self.load_report is None else self.load_report._repr_html_()
        return (
            f"<p><b>{html.escape(self.name)}</b> ({html.escape(self.kind)}): "
            f"{html.escape(self.architecture)}, {parameters / 1e6:.2f} M parameters, input "
            f"{size[0]} x {size[1]} px</p>{report}"
        )
