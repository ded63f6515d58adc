"""Models that a hub's own library builds, weights and all: timm, and Hugging Face transformers.

What belongs here: turning what those libraries give into a loaded model. What does not: files and
cards (`load`), and how a checkpoint of transformers is read (`huggingface`).
"""

import re
from pathlib import Path
from typing import Any

import timm
from torch import nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CheckpointError, OptionError, UnknownNameError
from mimprobe.zoo.huggingface import load_huggingface
from mimprobe.zoo.loaded import LoadedModel
from mimprobe.zoo.weights import file_sha256, module_sha256
from mimprobe.zoo.wish import Wish

KIND_BY_WORD = {
    "distilled": "distilled",
    "fb_dist": "distilled",
    "dinov": "contrastive",
    "dino": "contrastive",
    "moco": "contrastive",
    "clip": "contrastive",
    "openai": "contrastive",
    "laion": "contrastive",
    "siglip": "contrastive",
    "ijepa": "mim",
    "mae": "mim",
    "beit": "mim",
}
"""Kind of training by a word of a timm model's full name."""


def from_timm(wish: Wish, name: str) -> LoadedModel:
    """Build a timm model with its weights from the hub.

    Raises:
        UnknownNameError: no such model.
        CheckpointError: its weights could not be had.
    """
    if not timm.is_model(name.split(".")[0]) and not name.startswith(("hf-hub:", "local-dir:")):
        raise UnknownNameError("timm model", name, timm.list_models(), hint="timm.list_models()")
    size = {} if wish.input_size is None else {"img_size": wish.input_size}
    try:
        module: nn.Module = timm.create_model(name, pretrained=True, **size, **wish.arch_args)
    except Exception as error:  # timm, the hub's client and the network each have their own
        raise CheckpointError(
            f"the weights of {wish.text} could not be had: {str(error).splitlines()[0]}"
        ) from error
    config: Any = module.pretrained_cfg
    tag = str(config.get("tag", ""))
    return LoadedModel(
        name=name, module=module, preprocessing=Preprocessing.from_timm(module),
        kind=_kind_of(name, tag), reference=wish.text, architecture=name,
        sha256=module_sha256(module), arguments={**size, **wish.arch_args},
    )  # fmt: skip


def _kind_of(name: str, tag: str) -> str:
    """Tell the kind of training of a timm model; `other` where its name does not tell.

    Weights that were fine-tuned with labels (`..._ft_in1k`) count as supervised.
    """
    full = f"{name.split('.')[0]}.{tag}"
    if "_ft_in" in full or "_ft_" in tag:
        return "supervised"
    for word, kind in KIND_BY_WORD.items():
        if word in full:
            return kind
    return "supervised" if re.search(r"in(1|12|21|22)k", tag) else "other"


def from_huggingface(wish: Wish, name: str) -> LoadedModel:
    """Load a model of transformers, from the hub or from a folder.

    Raises:
        OptionError: another architecture or input size is asked for.
        CheckpointError: it could not be had, or is of no known type.
    """
    for value, flag in ((wish.input_size, "input_size"), (wish.arch, "arch")):
        if value is not None:
            raise OptionError(f"{flag} does not apply to models of transformers ({wish.text})")
    found = load_huggingface(name)
    one_file = len(found.weights) == 1
    return LoadedModel(
        name=Path(name).name, module=found.module, preprocessing=found.preprocessing,
        kind=found.kind, reference=wish.text, architecture=found.architecture,
        sha256=file_sha256(found.weights[0]) if one_file else module_sha256(found.module),
        load_report=found.report,
    )  # fmt: skip
