"""Fine-tuning from a reference to weights: the run's settings, filled in from its start.

What belongs here: what the network to start from decides about a run. What does not: the run
(`fit`) and the objective.
"""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.train.classifier import require_timm
from mimprobe.train.config import FINETUNING, TrainConfig
from mimprobe.train.fit import pretrain
from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel

FROM_START = ("objective", "arch", "start")
"""Settings that the network to start from decides."""

KINDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}
"""What messages call the types of settings."""


def finetune(
    model: str | os.PathLike[str],
    images: str | os.PathLike[str] | ImageSet,
    output: str | os.PathLike[str],
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    change_rates: bool = False,
) -> Path:
    """Fine-tune a network on labelled images and return the path of its weights.

    Args:
        model: what it starts from, as `load_model` takes it.
        images: in class folders, or with labels of their own.
        output: the run's folder; beside what every run has, `evaluations.jsonl` has a line for each
            epoch if `settings` name images for `val`.
        settings: fields of `TrainConfig` where they shall not be those of the recipe.
        resume: go on with the run in `output`.
        change_rates: go on with other learning rates, weight decay or norm of the gradient.

    Raises:
        ImageError: labels are missing or differ between the two sets, or there are too few images.
        OptionError: the network is not one of timm, or a setting is outside its range.
    """
    config = finetuning_config(model, settings)
    return pretrain(images, output, config, resume=resume, change_rates=change_rates)


def finetuning_config(model: str | os.PathLike[str], settings: Mapping[str, Any]) -> TrainConfig:
    """Give the settings of a run: the recipe's, the start's, and what `settings` change.

    Raises:
        UnknownNameError: no such setting.
        OptionError: the network takes no square images, or a setting is outside its range.
    """
    _check_names_and_types(settings)
    loaded = load_model(
        model, arch=settings.get("start_arch") or None, arch_args=settings.get("arch_args"),
        input_size=settings.get("input_size"), device="cpu",
    )  # fmt: skip
    return loaded_config(loaded, settings)


def loaded_config(loaded: LoadedModel, settings: Mapping[str, Any]) -> TrainConfig:
    """Give the settings of a run that starts from a network at its present input size.

    Raises:
        UnknownNameError: no such setting.
        OptionError: the network takes no square images, or a setting is outside its range.
    """
    _check_names_and_types(settings)
    require_timm(loaded)
    usual = loaded.preprocessing
    if usual is None or usual.input_size[0] != usual.input_size[1]:
        raise OptionError(f"{loaded.reference} takes no square images; pass input_size")
    chosen = {
        "input_size": usual.input_size[0], "layer_decay": layer_decay(loaded.module),
        **FINETUNING, "warmup_epochs": usual_warmup(settings.get("epochs")), **settings,
    }  # fmt: skip
    return TrainConfig(
        objective="finetune", arch=loaded.architecture, start=loaded.reference, **chosen
    )


def _check_names_and_types(settings: Mapping[str, Any]) -> None:
    known = {field.name: field.type for field in fields(TrainConfig)}
    names = [name for name in known if name not in FROM_START]
    for name, value in settings.items():
        if name not in names:
            raise UnknownNameError("setting of fine-tuning", name, names)
        wanted = known[name]
        whole = type(value) is int and wanted is float
        if wanted in KINDS and type(value) is not wanted and not whole:
            raise OptionError(f"{name} must be {KINDS[wanted]}, not {value!r}")


def usual_warmup(epochs: int | None) -> float:
    """Give the warm-up of a run in epochs: the recipe's 20 of 100, and a fifth of shorter runs."""
    longest: float = FINETUNING["warmup_epochs"]
    return longest if epochs is None else min(longest, epochs / 5)


def layer_decay(network: nn.Module) -> float:
    """Give SimMIM's layer decay: 0.65 for ViTs, 0.8 for Swin, and none for other networks."""
    if isinstance(network, SwinTransformer | SwinTransformerV2):
        return 0.8
    return 0.65 if hasattr(network, "blocks") else 1.0
