"""From a reference to a network that is ready to be probed.

    NAME              a card, as `mimprobe models list` shows them
    timm:NAME         a timm model with its weights from the hub
    random:NAME       the same architecture (of timm or of a card) with seeded, untrained weights
    path/to/file      a `.safetensors` or `.pth` file, with `arch` unless mimprobe wrote it

What belongs here: deciding what a reference means and putting network, weights and preprocessing
together. What does not: reading files (`weights`) and cards (`card`).
"""

import html
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch import Tensor, nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CheckpointError, MimprobeError, UnknownNameError
from mimprobe.models.device import resolve_device
from mimprobe.models.sites import attention_heads, layout
from mimprobe.zoo.card import Card, card_names, find_card
from mimprobe.zoo.weights import (
    NOT_VERIFIED,
    LoadReport,
    file_sha256,
    fill,
    module_sha256,
    read_weights,
)

ENCODER = "encoder."
"""Prefix of the network's own keys in files that mimprobe's trainer writes."""

KIND_BY_TAG = {
    "mae": "mim",
    "beit": "mim",
    "dino": "contrastive",
    "clip": "contrastive",
    "openai": "contrastive",
    "moco": "contrastive",
    "fb_dist": "distilled",
    "dist": "distilled",
}
"""Kind of training by what the tag of a timm name starts with; other tags are supervised."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network with everything a comparison needs to know about it.

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


def load_model(
    reference: str | os.PathLike[str],
    *,
    arch: str | None = None,
    arch_args: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    seed: int = 0,
) -> LoadedModel:
    """Load a network for probing.

    Args:
        reference: a card name, `timm:NAME`, `random:NAME`, or the path of a weights file.
        arch: name of a timm model, for files that do not say it themselves.
        arch_args: passed to `timm.create_model` with `arch`, such as `{"img_size": 384}`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        seed: of the weights of `random:NAME`.

    Raises:
        UnknownNameError: no such card, timm model or device.
        CheckpointError: the file is damaged, unsafe, or does not fit the architecture whole.
    """
    place = resolve_device(device)
    text = os.fspath(reference)
    scheme, _, name = text.partition(":")
    if scheme == "timm" and name:
        loaded = _from_timm(text, name)
    elif scheme == "random" and name:
        loaded = _untrained(text, name, seed)
    elif Path(text).suffix or Path(text).exists() or os.sep in text:
        loaded = _from_file(Path(text), arch, arch_args or {})
    else:
        loaded = _from_card(find_card_or_file(text))
    loaded.module.to(place).eval()
    return loaded


def find_card_or_file(text: str) -> Card:
    """Read a card, or say which references there are."""
    try:
        return find_card(text)
    except UnknownNameError as error:
        raise UnknownNameError(
            "model", text, card_names(),
            hint="also possible: timm:NAME, random:NAME, or the path of a weights file",
        ) from error  # fmt: skip


def _create(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build an untrained timm model; explain what timm's own errors do not."""
    base = architecture.removeprefix("hf-hub:")
    if not timm.is_model(base.split(".")[0]):
        raise UnknownNameError("timm model", architecture, timm.list_models())
    try:
        module: nn.Module = timm.create_model(architecture, pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise CheckpointError(
            f"timm cannot build {architecture} with {dict(arguments)}: {error}"
        ) from error
    return module


def _from_card(card: Card) -> LoadedModel:
    module = _create(card.architecture, card.arguments)
    _check_card(card, module)
    tensors, _ = read_weights(card.weights)
    found = file_sha256(card.weights)
    if found != card.sha256:
        raise CheckpointError(
            f"the weights of card {card.name!r} are not the ones it describes (sha256 {found}, "
            f"expected {card.sha256}); install mimprobe again"
        )
    report = _fill_own(module, tensors, f"card {card.name!r}", "sha256 as in the card")
    return LoadedModel(
        name=card.name, module=module, preprocessing=card.preprocessing, kind=card.kind,
        reference=card.name, architecture=card.architecture, sha256=found, load_report=report,
        card=card,
    )  # fmt: skip


def _check_card(card: Card, module: nn.Module) -> None:
    """Compare with the network what a file's shapes cannot tell: heads and prefix tokens."""
    places = layout(module)
    heads = {attention_heads(places[name]) for name in places.attention_sites}
    if heads - {card.heads} or places.prefix_tokens != card.prefix_tokens:
        raise CheckpointError(
            f"card {card.name!r} says {card.heads} heads and {card.prefix_tokens} prefix tokens; "
            f"{card.architecture} has {sorted(heads)} and {places.prefix_tokens}"
        )


def _from_timm(reference: str, name: str) -> LoadedModel:
    if not timm.is_model(name.split(".")[0]) and not name.startswith(("hf-hub:", "local-dir:")):
        raise UnknownNameError("timm model", name, timm.list_models(), hint="timm.list_models()")
    try:
        module: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # timm, the hub's client and the network each have their own
        raise CheckpointError(
            f"the weights of {reference} could not be had: {str(error).splitlines()[0]}"
        ) from error
    config: Any = module.pretrained_cfg
    tag = str(config.get("tag", ""))
    return LoadedModel(
        name=name, module=module, preprocessing=Preprocessing.from_timm(module),
        kind=_kind_of(name, tag), reference=reference, architecture=name,
        sha256=module_sha256(module),
    )  # fmt: skip


def _kind_of(name: str, tag: str) -> str:
    if "in1k" in tag or "in22k_ft" in tag or "in12k_ft" in tag:
        return "supervised" if not tag.startswith("fb_dist") else "distilled"
    for start, kind in KIND_BY_TAG.items():
        if tag.startswith(start):
            return kind
    return "mim" if name.startswith("beit") else "supervised"


def _untrained(reference: str, name: str, seed: int) -> LoadedModel:
    """Build the control of every comparison: the same architecture before any training."""
    card = find_card(name) if name in card_names() else None
    architecture, arguments = (card.architecture, card.arguments) if card else (name, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _create(architecture, arguments)
    return LoadedModel(
        name=reference, module=module, kind="untrained", reference=reference,
        preprocessing=card.preprocessing if card else Preprocessing.from_timm(module),
        architecture=architecture, sha256=module_sha256(module),
    )  # fmt: skip


def _from_file(path: Path, arch: str | None, arch_args: Mapping[str, Any]) -> LoadedModel:
    tensors, metadata = read_weights(path)
    if metadata and arch is None:
        return _from_own_file(path, tensors, metadata)
    if arch is None:
        raise CheckpointError(
            f"{path} does not say its architecture; name a timm model with arch=... (--arch), "
            "such as vit_base_patch16_224"
        )
    module = _create(arch, {**_classes_in(arch, tensors), **arch_args})
    report = (
        _fill_own(module, tensors, str(path))
        if metadata
        else LoadReport(fill(module, tensors, str(path)))
    )
    warnings.warn(
        f"preprocessing of {path.name} is taken from timm's {arch}; give a card if it was trained "
        "with another",
        stacklevel=3,
    )
    return LoadedModel(
        name=path.stem, module=module, preprocessing=Preprocessing.from_timm(module), kind="other",
        reference=str(path), architecture=arch, sha256=file_sha256(path), load_report=report,
    )  # fmt: skip


def _from_own_file(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> LoadedModel:
    """Load what mimprobe's trainer wrote: the file says everything itself."""
    try:
        module = _create(metadata["arch"], metadata["arch_args"])
        preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        kind = metadata["kind"]
    except (KeyError, MimprobeError) as error:
        raise CheckpointError(f"the metadata of {path} are damaged: {error}") from error
    report = _fill_own(module, tensors, str(path))
    return LoadedModel(
        name=path.stem, module=module, preprocessing=preprocessing, kind=kind, reference=str(path),
        architecture=metadata["arch"], sha256=file_sha256(path), load_report=report,
    )  # fmt: skip


def _fill_own(
    module: nn.Module, tensors: Mapping[str, Tensor], what: str, verified: str = NOT_VERIFIED
) -> LoadReport:
    """Fill from a file of mimprobe's trainer, leaving out what only training needs."""
    own = {
        key.removeprefix(ENCODER): tensor.float()
        for key, tensor in tensors.items()
        if key.startswith(ENCODER)
    }
    dropped = {key: "used in training only" for key in tensors if not key.startswith(ENCODER)}
    return LoadReport(fill(module, own, what), dropped, verified)


def _classes_in(arch: str, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the number of classes off the file's classifier; 0 where it has none."""
    config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    names = getattr(config, "classifier", None) or "head"
    first = names if isinstance(names, str) else names[0]
    weight = tensors.get(f"{first}.weight")
    return {"num_classes": 0 if weight is None else int(weight.shape[0])}
