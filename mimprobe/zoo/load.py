"""From a reference to a network that is ready to be probed.

    NAME              a card, as `mimprobe models list` shows them
    timm:NAME         a timm model with its weights from the hub
    hf:NAME           a model of Hugging Face transformers, from the hub or a local folder
    random:NAME       the same architecture (of timm or of a card) with seeded, untrained weights
    path/to/file      a weights file; `arch` where it does not say its architecture itself

What belongs here: deciding what a reference means and putting network, weights and preprocessing
together. What does not: reading files (`weights`), their names (`convert`), and filling (`fill`).
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CheckpointError, MimprobeError, OptionError, UnknownNameError
from mimprobe.models.device import resolve_device
from mimprobe.tables import KINDS
from mimprobe.zoo import recognise
from mimprobe.zoo.build import create
from mimprobe.zoo.card import Card
from mimprobe.zoo.carded import card_weights, check_card, fill_from_card
from mimprobe.zoo.convert import CONVERTERS
from mimprobe.zoo.fill import LoadReport, fill
from mimprobe.zoo.hubs import from_huggingface, from_timm
from mimprobe.zoo.loaded import LoadedModel
from mimprobe.zoo.shelf import card_names, find_card
from mimprobe.zoo.sizes import arguments_at, preprocessing_at
from mimprobe.zoo.weights import WeightsFile, module_sha256, read_weights
from mimprobe.zoo.wish import Wish


def load_model(
    reference: str | os.PathLike[str],
    *,
    arch: str | None = None,
    arch_args: Mapping[str, Any] | None = None,
    input_size: int | None = None,
    card: str | None = None,
    device: str | torch.device = "auto",
    seed: int = 0,
) -> LoadedModel:
    """Load a network for probing.

    Args:
        reference: a card name, `timm:NAME`, `hf:NAME`, `random:NAME`, or the path of a weights
            file.
        arch: name of a timm model, for files that do not say it themselves.
        arch_args: passed to the network, such as `{"num_heads": 12}` or `{"window_size": 7}`.
        input_size: side of the input in pixels, where it shall not be the usual one; position
            embeddings and relative-position tables are resized, and the load report says so.
        card: name of the card that describes a file at a path.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of the weights of `random:NAME`.

    Raises:
        UnknownNameError: no such card, timm model or device.
        CheckpointError: the file is damaged, unsafe, does not fit the architecture whole, or may
            be of several.
    """
    place = resolve_device(device)
    wish = Wish(os.fspath(reference), arch, arch_args or {}, input_size, card, seed)
    if input_size is not None and input_size < 1:
        raise OptionError(f"input_size must be positive, not {input_size}")
    loaded = _route(wish)
    loaded.module.to(place).eval()
    return loaded


def _route(wish: Wish) -> LoadedModel:
    text = wish.text
    scheme, _, name = text.partition(":")
    if scheme == "timm" and name:
        return from_timm(wish, name)
    if scheme == "hf" and name:
        return from_huggingface(wish, name)
    if scheme == "random" and name:
        return _untrained(wish, name)
    path = Path(text)
    if timm.is_model(text.split(".")[0]) and not path.exists():
        return _from_card(wish, find_card_or_file(text))
    if text in card_names() and not path.is_file():
        return _from_card(wish, find_card(text))
    if (path / "config.json").is_file():
        return from_huggingface(wish, text)
    if path.suffix or path.exists() or path.is_symlink() or os.sep in text:
        return _from_file(wish, path)
    return _from_card(wish, find_card_or_file(text))


def find_card_or_file(text: str) -> Card:
    """Read a card, or say which references there are."""
    try:
        return find_card(text)
    except UnknownNameError as error:
        if timm.is_model(text.split(".")[0]):
            raise UnknownNameError("model", text, [f"timm:{text}", f"random:{text}"]) from error
        raise UnknownNameError(
            "model", text, card_names(),
            hint="also possible: timm:NAME, hf:NAME, random:NAME, or the path of a weights file",
        ) from error  # fmt: skip


def _from_card(wish: Wish, card: Card, path: Path | None = None) -> LoadedModel:
    module = create(card.architecture, card.arguments)
    check_card(card, module)
    arguments = arguments_at(module, {**card.arguments, **wish.arch_args}, wish.input_size)
    changed = arguments != dict(card.arguments)
    if changed:
        module = create(card.architecture, arguments)
    file = read_weights(path or card_weights(card), top_key=card.weights.top_key)
    report = fill_from_card(module, file, card, resize=changed)
    return LoadedModel(
        name=card.name, module=module, kind=card.kind, reference=wish.text,
        preprocessing=preprocessing_at(card.preprocessing, wish.input_size),
        architecture=card.architecture, sha256=file.sha256, load_report=report, card=card,
        arguments=arguments,
    )  # fmt: skip


def _untrained(wish: Wish, name: str) -> LoadedModel:
    """Build the control of every comparison: the same architecture before any training."""
    card = find_card(name) if name in card_names() else None
    architecture, arguments = (card.architecture, card.arguments) if card else (name, {})
    arguments = {**arguments, **wish.arch_args}
    if wish.input_size is not None:
        with torch.device("meta"):
            shape = create(architecture, arguments)
        arguments = arguments_at(shape, arguments, wish.input_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(wish.seed)
        module = create(architecture, arguments)
    usual = card.preprocessing if card else Preprocessing.from_timm(module)
    return LoadedModel(
        name=wish.text, module=module, kind="untrained", reference=wish.text,
        preprocessing=preprocessing_at(usual, wish.input_size),
        architecture=architecture, sha256=module_sha256(module), arguments=arguments,
    )  # fmt: skip


def _from_file(wish: Wish, path: Path) -> LoadedModel:
    if wish.card is not None:
        card = find_card(wish.card)
        loaded = _from_card(wish, card, path)
        return replace(loaded, name=path.stem)
    file = read_weights(path)
    if file.metadata:
        return _from_own_file(wish, file)
    if wish.arch is not None:
        return _as_architecture(wish, wish.arch, file)
    return _as_recognised(wish, file)


def _as_architecture(wish: Wish, arch: str, file: WeightsFile) -> LoadedModel:
    """Load a file into the network that the user names; its tensors may have any source's names."""
    source = recognise.source_of(file)
    converted = CONVERTERS[source.converter](file.tensors)
    classes = _classes_in(arch, converted.tensors)
    with torch.device("meta"):
        shape = create(arch, {**classes, **wish.arch_args})
    arguments = arguments_at(shape, {**classes, **wish.arch_args}, wish.input_size)
    module = create(arch, arguments)
    recognise.check_heads(module, source, f"{file.path} with arch {arch}")
    report = fill(
        module, converted, str(file.path), converter=source.converter, checked=file.checked,
        resize=wish.input_size is not None,
    )  # fmt: skip
    usual = recognise.preprocessing_of(module, source)
    if source.scale is None:
        warnings.warn(
            f"preprocessing of {file.path.name} is taken from timm's {arch}; write a card if it "
            "was trained with another",
            stacklevel=5,
        )
    return _of_file(wish, file, module, usual, source.kind, arch, report, arguments)


def _from_own_file(wish: Wish, file: WeightsFile) -> LoadedModel:
    """Load what mimprobe's trainer wrote: the file says everything itself."""
    said = file.metadata
    if not (
        isinstance(said.get("arch"), str)
        and isinstance(said.get("arch_args"), dict)
        and isinstance(said.get("preprocessing"), dict)
        and said.get("kind") in KINDS
    ):
        raise CheckpointError(
            f"the metadata of {file.path} are damaged: arch, arch_args, preprocessing or kind "
            f"({said.get('kind')!r}) is missing or of the wrong kind"
        )
    try:
        arch, kind = file.metadata["arch"], file.metadata["kind"]
        arguments = {**file.metadata["arch_args"], **wish.arch_args}
        usual = Preprocessing.from_dict(file.metadata["preprocessing"])
        with torch.device("meta"):
            shape = create(arch, arguments)
        arguments = arguments_at(shape, arguments, wish.input_size)
        module = create(arch, arguments)
    except (KeyError, TypeError, MimprobeError) as error:
        raise CheckpointError(f"the metadata of {file.path} are damaged: {error}") from error
    report = fill(
        module, CONVERTERS["mimprobe"](file.tensors), str(file.path), converter="mimprobe",
        checked=file.checked, resize=wish.input_size is not None,
    )  # fmt: skip
    return _of_file(wish, file, module, usual, kind, arch, report, arguments)


def _as_recognised(wish: Wish, file: WeightsFile) -> LoadedModel:
    """Load a file of somebody else's, if its names and shapes leave no doubt."""
    found = recognise.recognise(file, wish.arch_args)
    if len(found.choices) > 1:
        raise CheckpointError(recognise.refusal(file, found))
    network = found.network
    arguments = {**network.arguments, **wish.arch_args}
    with torch.device("meta"):
        shape = create(network.architecture, arguments)
    arguments = arguments_at(shape, arguments, wish.input_size)
    module = create(network.architecture, arguments)
    recognise.check_heads(module, recognise.source_of(file), str(file.path))
    report = fill(
        module, CONVERTERS[found.converter](file.tensors), str(file.path),
        converter=found.converter, checked=file.checked, resize=wish.input_size is not None,
        assumed=found.assumed,
    )  # fmt: skip
    if found.assumed:
        warnings.warn(
            f"{file.path.name} is taken for {found.source}: {network.architecture}; assumed, since "
            f"the file does not say it: {'; '.join(found.assumed)}",
            stacklevel=5,
        )
    return _of_file(
        wish, file, module, found.preprocessing, found.kind, network.architecture, report, arguments
    )


def _of_file(
    wish: Wish,
    file: WeightsFile,
    module: nn.Module,
    usual: Preprocessing,
    kind: str,
    architecture: str,
    report: LoadReport,
    arguments: Mapping[str, Any],
) -> LoadedModel:
    return LoadedModel(
        name=file.path.stem, module=module, kind=kind, reference=wish.text,
        preprocessing=preprocessing_at(usual, wish.input_size),
        architecture=architecture, sha256=file.sha256, load_report=report, arguments=arguments,
    )  # fmt: skip


def _classes_in(arch: str, tensors: Mapping[str, Any]) -> dict[str, int]:
    """Read the number of classes off the file's classifier; 0 where it has none."""
    config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    names = getattr(config, "classifier", None) or "head"
    first = names if isinstance(names, str) else names[0]
    weight = tensors.get(f"{first}.weight")
    return {"num_classes": 0 if weight is None or weight.ndim == 0 else int(weight.shape[0])}
