"""Encoders of Hugging Face's transformers, from the hub or from a folder.

What belongs here: which of its model types are known, and what of a checkpoint may be left out.
What does not: its files (`snapshot`), what its image processors mean (`image_processor`), and where
the blocks of its networks are (`models.huggingface`). transformers is imported when the first such
model is loaded. Classes are chosen here by the model type, never by the checkpoint.
"""

import contextlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CheckpointError
from mimprobe.models.sites import Layout, attention_heads, layout
from mimprobe.zoo.fill import LoadReport
from mimprobe.zoo.image_processor import read_preprocessing
from mimprobe.zoo.snapshot import checkpoint_folder, first_line, safetensors_in

ENCODERS: Mapping[str, str] = {
    "beit": "BeitModel",
    "data2vec-vision": "Data2VecVisionModel",
    "deit": "DeiTModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "swin": "SwinModel",
    "swinv2": "Swinv2Model",
    "vit": "ViTModel",
    "vit_mae": "ViTMAEModel",
}
"""Class of the encoder by the model type that a configuration names."""

POOLED = frozenset(ENCODERS) - {"dinov2", "dinov2_with_registers", "vit_mae"}
"""Model types whose encoder can be built without its pooler."""

DROPPED: Mapping[str, str] = {
    "classifier.": "a classifier, behind the last block",
    "cls_classifier.": "a classifier, behind the last block",
    "distillation_classifier.": "a classifier, behind the last block",
    "pooler.": "pools the output, behind the last block",
    "layernorm.": "the norm of a head, behind the last block",
    "lm_head.": "predicts visual tokens, in pre-training only",
    "decoder.": "the decoder, in pre-training only",
    "embeddings.mask_token": "stands for masked patches, in pre-training only",
}
"""Beginnings of names that may be left over, and why."""

MISSING: Mapping[str, str] = {
    "embeddings.mask_token": "stands for masked patches, which are never shown",
}
"""Beginnings of names that may be missing, and why nothing depends on them."""

KIND_BY_TYPE: Mapping[str, str] = {
    "beit": "mim",
    "data2vec-vision": "mim",
    "dinov2": "contrastive",
    "dinov2_with_registers": "contrastive",
    "vit_mae": "mim",
}
"""Kind of training by model type, for checkpoints without a classifier."""

KIND_BY_WORD: Mapping[str, str] = {
    "dino": "contrastive",
    "moco": "contrastive",
    "mae": "mim",
    "simmim": "mim",
    "in21k": "supervised",
}
"""Kind of training by a word of the checkpoint's name, where its class does not tell."""

SHOWN = 6
"""Keys named in an error before it goes on with a count."""

OLDEST = (4, 57)
"""Oldest version of transformers that the tests were run with."""


@dataclass(frozen=True, eq=False)
class HuggingFaceModel:
    """What a checkpoint of transformers gives.

    Attributes:
        module: the encoder, in evaluation mode and float32.
        preprocessing: what its image processor does.
        kind: of training, as far as class or name tell; else `other`.
        architecture: the encoder's class.
        heads: of each layer with attention.
        report: what became of every tensor.
        weights: the files that were read.
    """

    module: nn.Module
    preprocessing: Preprocessing
    kind: str
    architecture: str
    heads: tuple[int, ...]
    report: LoadReport
    weights: tuple[Path, ...]


def load_huggingface(name_or_folder: str) -> HuggingFaceModel:
    """Load the encoder of a checkpoint.

    Args:
        name_or_folder: `OWNER/NAME` or `OWNER/NAME@REVISION` on the hub, with or without `hf:`; or
            a folder with config.json, preprocessor_config.json and safetensors.

    Raises:
        CheckpointError: transformers is missing or too old, the checkpoint cannot be had, is of
            another model type, has no safetensors, does not fit its own configuration whole, or is
            prepared for in a way that `Preprocessing` cannot express.
    """
    name = name_or_folder.removeprefix("hf:")
    transformers = _transformers(name)
    folder = checkpoint_folder(name)
    config = _read_config(folder, name)
    weights = safetensors_in(folder, name)
    with _quiet(transformers):
        module, report = _encoder(transformers, folder, config, name)
        preprocessing = read_preprocessing(transformers, folder, name)
    places = layout(module)
    _check_size(places, preprocessing, name)
    kind, assumed = _kind(config, name)
    return HuggingFaceModel(
        module=module,
        preprocessing=preprocessing,
        kind=kind,
        architecture=type(module).__name__,
        heads=tuple(attention_heads(places[site]) for site in places.attention_sites),
        report=LoadReport(**report, converter="transformers", assumed=assumed),
        weights=weights,
    )


def _transformers(name: str) -> Any:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise CheckpointError(
            f"{name} needs transformers, which cannot be imported ({first_line(error)}); "
            "pip install 'mimprobe[hf]'"
        ) from error
    version: str = transformers.__version__
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise CheckpointError(
            f"{name} needs transformers {OLDEST[0]}.{OLDEST[1]} or newer, this is {version}; "
            "pip install --upgrade 'mimprobe[hf]'"
        )
    return transformers


def _read_config(folder: Path, name: str) -> Mapping[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{name} has no config.json, so it is none of transformers") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"config.json of {name} is damaged: {first_line(error)}") from error
    found = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(found, str) or found not in ENCODERS:
        raise CheckpointError(
            f"{name} is of model type {found!r}; mimprobe can look into {', '.join(ENCODERS)} (a "
            "timm model on the hub is timm:hf-hub:OWNER/NAME)"
        )
    if "quantization_config" in config or (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{name} is quantised or an adapter; name the checkpoint that it was made from"
        )
    return dict(config)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from printing its own reports and bars; ours says the same and more."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _encoder(
    transformers: Any, folder: Path, config: Mapping[str, Any], name: str
) -> tuple[nn.Module, dict[str, Any]]:
    model_type = config["model_type"]
    encoder = getattr(transformers, ENCODERS[model_type])
    options = {"add_pooling_layer": False} if model_type in POOLED else {}
    try:
        module, info = encoder.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, all of them
            # Never what the file asks for: an implementation may be a kernel from the hub.
            attn_implementation="sdpa" if encoder._supports_sdpa else "eager",
            **options,
        )  # fmt: skip
    except Exception as error:  # configuration, safetensors and torch each have their own
        raise CheckpointError(f"{name} could not be loaded: {first_line(error)}") from error
    module = module.float().eval()
    return module, _report(module, info, name)


def _report(module: Any, info: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Account for every tensor, and refuse what is not known to be harmless."""
    prefix = f"{module.base_model_prefix}."
    missing = {key: _why(key, MISSING) for key in sorted(info["missing_keys"])}
    dropped = {
        key: _why(key.removeprefix(prefix), DROPPED) for key in sorted(info["unexpected_keys"])
    }
    mismatched = sorted(  # names, or in newer versions names with both shapes
        entry if isinstance(entry, str) else entry[0] for entry in info["mismatched_keys"]
    )
    state = module.state_dict()
    problems = {
        "missing in the file": [key for key, reason in missing.items() if not reason],
        "unexpected in the file": [key for key, reason in dropped.items() if not reason],
        "of another shape": mismatched,
        "not finite": [key for key, value in state.items() if not bool(value.isfinite().all())],
    }
    told = "; ".join(f"{len(k)} {what}: {_some(k)}" for what, k in problems.items() if k)
    if told:
        raise CheckpointError(f"{name} does not fit its own config.json whole: {told}")
    matched = tuple(sorted(state.keys() - missing.keys()))
    return {"matched": matched, "dropped": dropped, "missing": missing}


def _why(key: str, reasons: Mapping[str, str]) -> str:
    return next((reason for start, reason in reasons.items() if key.startswith(start)), "")


def _check_size(places: Layout, preprocessing: Preprocessing, name: str) -> None:
    taken, given = places.reading.input_size, preprocessing.input_size
    if taken is not None and taken != given:
        raise CheckpointError(
            f"{name} prepares images of {given[0]} x {given[1]} pixels, but its network takes "
            f"{taken[0]} x {taken[1]}: config.json and preprocessor_config.json do not belong "
            "together"
        )


def _kind(config: Mapping[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    """Tell how the checkpoint was trained, and what of that is read off its name only."""
    model_type, architectures = config["model_type"], config.get("architectures")
    saved_as = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    if "ForImageClassification" in saved_as:
        # The family of DeiT in transformers is the distilled one.
        return ("distilled" if model_type == "deit" else "supervised"), ()
    if saved_as.endswith("ForMaskedImageModeling"):
        return "mim", ()
    if model_type in KIND_BY_TYPE:
        return KIND_BY_TYPE[model_type], ()
    words = re.split(r"[^a-z0-9]+", Path(name).name.lower())
    for word, kind in KIND_BY_WORD.items():
        if word in words:
            return kind, (f"that its training was {kind} is taken from {word!r} in its name",)
    return "other", ()


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if keys[SHOWN:] else "")
