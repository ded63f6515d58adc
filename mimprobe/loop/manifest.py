"""The circumstances of a measurement, as data: what would be needed to repeat or to doubt it."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from mimprobe import __version__
from mimprobe.analyzers import Analyzer
from mimprobe.data.images import ImageSet
from mimprobe.models.sites import Layout, attention_heads
from mimprobe.zoo.loaded import LoadedModel

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "matplotlib", "pillow")
"""Packages whose versions can change a number or a figure."""


def describe_run(
    lineup: Sequence[LoadedModel],
    places: Mapping[str, Layout],
    images: ImageSet,
    tools: Sequence[Analyzer],
    circumstances: Mapping[str, Any],
) -> dict[str, Any]:
    """Collect the manifest of a result, ready for JSON."""
    return {
        "mimprobe": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **circumstances,
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": str(os.cpu_count()),
            "threads": str(torch.get_num_threads()),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        },
        "images": images.describe(),
        "models": [_describe_model(model, places[model.name]) for model in lineup],
        "analyzers": {tool.name: tool.describe() for tool in tools},
    }


def _describe_model(model: LoadedModel, places: Layout) -> dict[str, Any]:
    preprocessing = model.preprocessing
    return {
        "name": model.name,
        "reference": model.reference,
        "kind": model.kind,
        "arch": model.architecture,
        "family": places.family,
        "attention": bool(places.attention_sites),
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "layers": len(places.feature_sites),
        "heads": [attention_heads(places[name]) for name in places.attention_sites],
        "prefix_tokens": places.prefix_tokens,
        "input_size": list(preprocessing.input_size) if preprocessing else None,
        "preprocessing": preprocessing.describe() if preprocessing else "the user's own transform",
        "sha256": model.sha256,
        "load_report": model.load_report.describe() if model.load_report else None,
        "card": model.card.describe() if model.card else None,
    }
