"""The models of one comparison: from whatever the user passed to a list of loaded models.

What belongs here: names, kinds and transforms of models that are compared. What does not: loading
one of them (`load`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.tables import KINDS
from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel
from mimprobe.zoo.weights import module_sha256

Reference = str | os.PathLike[str] | LoadedModel
Transform = Callable[[Image.Image], Tensor]


def line_up(
    models: Reference | nn.Module | Sequence[Reference] | Mapping[str, Reference | nn.Module],
    *,
    transform: Transform | None,
    kinds: Mapping[str, str],
    device: torch.device,
    seed: int,
) -> list[LoadedModel]:
    """Load what is not loaded yet, and give every model its name and kind.

    Raises:
        OptionError: no models, two of one name, or a module without a transform.
        UnknownNameError: a kind that does not exist, or a kind for a model that is not there.
    """
    lineup = [
        _named(name, model, transform, device, seed) for name, model in _pairs(models).items()
    ]
    names = [model.name for model in lineup]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not lineup or twice:
        told = f"two models are called {twice[0]!r}" if twice else "no models were given"
        raise OptionError(f"{told}; pass a dict of names to models (NAME=MODEL)")
    for name, kind in kinds.items():
        if name not in names:
            raise UnknownNameError("model", name, names, hint="kinds are given by model name")
        if kind not in KINDS:
            raise UnknownNameError("kind of training", kind, KINDS)
    return [replace(model, kind=kinds.get(model.name, model.kind)) for model in lineup]


def _pairs(models: Any) -> dict[str | int, Any]:
    """Bring all ways to pass models to pairs; a number stands for a model that names itself."""
    if isinstance(models, Mapping):
        return dict(models)
    if isinstance(models, str | os.PathLike | LoadedModel):
        return {0: models}
    if isinstance(models, nn.Module):
        raise OptionError('a module needs a name: pass {"name": module} and transform=')
    return dict(enumerate(models))


def _named(
    name: str | int, model: Any, transform: Transform | None, device: torch.device, seed: int
) -> LoadedModel:
    if isinstance(model, nn.Module):
        return _from_module(str(name), model, transform)
    loaded = (
        model if isinstance(model, LoadedModel) else load_model(model, device=device, seed=seed)
    )
    return loaded if isinstance(name, int) else replace(loaded, name=name)


def _from_module(name: str, module: nn.Module, transform: Transform | None) -> LoadedModel:
    """Take a bare module; its preprocessing is the user's, or timm's if it is timm's."""
    if transform is None and not hasattr(module, "pretrained_cfg"):
        raise OptionError(
            f"model {name!r} is a {type(module).__name__} that does not say how images are "
            "prepared for it; pass transform= (PIL image to tensor)"
        )
    return LoadedModel(
        name=name, module=module, kind="other", reference=f"{type(module).__name__} in memory",
        preprocessing=Preprocessing.from_timm(module) if transform is None else None,
        custom_transform=transform, architecture=type(module).__name__,
        sha256=module_sha256(module),
    )  # fmt: skip
