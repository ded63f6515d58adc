"""Checkpoint files with made-up numbers, written as each source writes them, and their cards."""

import argparse
import json
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from zoo.sources.vit_formats import Shapes

from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel
from mimprobe.zoo.weights import WeightsFile

INTEGERS = ("num_batches_tracked", "relative_position_index", "queue_ptr")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def numbers(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Fill a format so that every tensor matters: biases, tables and scales are far from 0 and 1.

    The tokens are small, so that another epsilon of the first norm shows, and some logit scales are
    beyond the limit of SwinV2.
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: _tensor(name, shape, generator) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    last = name.rpartition(".")[2]
    if last in INTEGERS:
        return torch.randint(0, 9, shape, generator=generator)
    values = torch.randn(shape, generator=generator)
    if last == "running_var":
        return 0.5 + values.abs()
    if last == "logit_scale":
        return 2 + 2 * values
    if last in ("cls_token", "dist_token", "pos_embed", "mask_token"):
        return 0.05 * values
    if "patch_embed.proj" in name or "patch_embed.projection" in name:
        return 0.01 * values
    if len(shape) == 1 and last == "weight":
        return 1 + 0.3 * values  # a norm's
    if last == "bias" or last.endswith("_bias") or len(shape) < 2:
        return 0.3 * values
    if last.endswith("bias_table"):
        return values
    if len(shape) == 4:
        return values * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
    return values * (1.5 / shape[-1]) ** 0.5


def without_memory(shapes: Shapes) -> dict[str, Tensor]:
    """The same as tensors of PyTorch's meta device: names, shapes and types only."""
    return {
        name: torch.empty(
            shape,
            device="meta",
            dtype=torch.int64 if name.rpartition(".")[2] in INTEGERS else torch.float32,
        )
        for name, shape in shapes.items()
    }


def inside(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What stands under a prefix, in float64: the plain implementations' input."""
    return {
        name.removeprefix(prefix): tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def images(side: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)


@contextmanager
def pretended(module: str, name: str, parent: type) -> Iterator[type]:
    """Give a class of a library that need not be installed, while something is pickled with it."""
    made = types.ModuleType(module)
    cls = type(name, (parent,), {"__module__": module})
    setattr(made, name, cls)
    package = module.partition(".")[0]
    before = {key: sys.modules.get(key) for key in (package, module)}
    sys.modules |= {package: types.ModuleType(package), module: made}
    try:
        yield cls
    finally:
        for key, old in before.items():
            sys.modules.pop(key)
            if old is not None:
                sys.modules[key] = old


def yacs_config(cls: Any) -> Any:
    """A configuration as SimMIM and Swin store it: nodes in nodes, with yacs' own attributes."""

    def node(values: Mapping[str, Any]) -> Any:
        made = cls({k: node(v) if isinstance(v, dict) else v for k, v in values.items()})
        made.__dict__["__immutable__"] = True
        made.__dict__["__deprecated_keys__"] = set()
        made.__dict__["__renamed_keys__"] = {}
        made.__dict__["__new_allowed__"] = False
        return made

    return node(
        {
            "BASE": [""],
            "DATA": {"IMG_SIZE": 192, "MASK_RATIO": 0.6, "INTERPOLATION": "bicubic"},
            "MODEL": {"TYPE": "swin", "SWIN": {"DEPTHS": [2, 2, 18, 2], "APE": False}},
            "AMP_OPT_LEVEL": "O1",
            "EVAL_MODE": False,
        }
    )


def adam(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """An optimiser's state, for the first few tensors only."""
    chosen = list(state.values())[:3]
    moments = {
        number: {"step": 9, "exp_avg": torch.zeros_like(t), "exp_avg_sq": torch.ones_like(t)}
        for number, t in enumerate(chosen)
    }
    return {"state": moments, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0]}]}


def write(path: Path, content: Any, *, old_format: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    return path


def write_microsoft(path: Path, state: Mapping[str, Tensor], *, old_format: bool = False) -> Path:
    """As SimMIM's and Swin's training code writes: model, optimiser, schedule, config, amp."""
    with pretended("yacs.config", "CfgNode", dict) as node:
        content = {
            "model": dict(state),
            "optimizer": adam(state),
            "lr_scheduler": {"base_values": [1e-4], "t_in_epochs": False},
            "max_accuracy": np.float64(83.8),
            "epoch": 799,
            "config": yacs_config(node),
            "amp": {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 12}},
        }
        return write(path, content, old_format=old_format)


def write_facebook(path: Path, state: Mapping[str, Tensor]) -> Path:
    """As the training code of MAE and DeiT writes: with its arguments."""
    args = argparse.Namespace(model="mae_vit_base", output_dir=Path("out"), lr=None, batch_size=64)
    content = {
        "model": dict(state),
        "optimizer": adam(state),
        "epoch": 1599,
        "scaler": {"scale": 65536.0},
        "args": args,
    }
    return write(path, content)


def write_card(
    folder: Path,
    name: str,
    *,
    file: str,
    architecture: str,
    arguments: Mapping[str, Any],
    heads: Any,
    prefix: int,
    converter: str,
    side: int,
    top_key: str | None = "model",
    checksum: str = "",
    scale: tuple[Any, Any] = IMAGENET,
    kind: str = "mim",
) -> None:
    """Write a card of a user's own, with the entries that the bundled ones have."""
    inline = ", ".join(f"{key} = {_toml(value)}" for key, value in arguments.items())
    top = "" if top_key is None else f"top_key = {_toml(top_key)}\n"
    (folder / f"{name}.toml").write_text(
        f"""
name = "{name}"
title = "made for a test"
kind = "{kind}"
source = "this test"
licence = "MIT"

[weights]
file = "{file}"
checksum = "{checksum}"
{top}converter = "{converter}"

[architecture]
name = "{architecture}"
heads = {_toml(heads)}
prefix_tokens = {prefix}
arguments = {{ {inline} }}

[preprocessing]
input_size = [{side}, {side}]
mean = {list(scale[0])}
std = {list(scale[1])}
interpolation = "bicubic"
crop_pct = 0.875
"""
    )


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def load(reference: Any, **arguments: Any) -> LoadedModel:
    """Load on the CPU; what is assumed comes as a warning, which is another test's matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model(reference, device="cpu", **arguments)


def as_file(tensors: Mapping[str, Tensor], top_key: str = "model") -> WeightsFile:
    """What reading a file with these tensors gives."""
    return WeightsFile(Path("made.pth"), tensors, top_key, {}, {}, "0" * 64, "not read")


def assert_same_tokens(loaded: LoadedModel, x: Tensor, expected: Tensor) -> None:
    """Compare all tokens before pooling with those of a plain implementation, in float64."""
    with torch.no_grad():
        found = loaded.module.double().forward_features(x)
    assert expected.std() > 0.1, "these numbers would agree with anything"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def assert_same_output(loaded: LoadedModel, x: Tensor, expected: Tensor) -> None:
    with torch.no_grad():
        found = loaded.module.double()(x)
    assert expected.std() > 0.1, "these numbers would agree with anything"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
