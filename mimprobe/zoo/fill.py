"""Tensors into a network, whole, and the account of where each went.

What belongs here: matching names and shapes, resizing what depends on the input's size, and the
report of a load. What does not: names in somebody's file (`convert`), and reading it (`weights`).
"""

import html
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import Tensor, nn

from mimprobe.errors import CheckpointError
from mimprobe.zoo.convert import Converted

SHOWN = 6
"""Keys named in an error before it goes on with a count."""


@dataclass(frozen=True)
class Allowed:
    """What may be missing or left over, as patterns of names, each with its reason."""

    missing: Mapping[str, str] = field(default_factory=dict)
    unexpected: Mapping[str, str] = field(default_factory=dict)


NOTHING = Allowed()


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a file, and of every tensor of the network.

    Attributes:
        matched: tensors of the network that the file filled.
        renamed: name in the file to name in the network, where they differ.
        resized: name in the network to the change of size.
        dropped: name in the file to the reason why it was left out.
        missing: tensors that keep their fresh values, with the reason why that is allowed.
        converter: which renaming was applied.
        checked: how the file's content was checked; a flipped byte shows only in a checksum.
        assumed: what the file does not say and was taken from custom, in sentences.
    """

    matched: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    resized: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    converter: str = "as_is"
    checked: str = "content not verifiable"
    assumed: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Give the report as data for a manifest; nothing unexpected is ever loaded over."""
        return {
            "matched": len(self.matched),
            "renamed": dict(self.renamed),
            "resized": dict(self.resized),
            "dropped": dict(self.dropped),
            "missing": dict(self.missing),
            "unexpected": [],
            "converter": self.converter,
            "checked": self.checked,
            "assumed": list(self.assumed),
        }

    def summary(self) -> str:
        """Tell the counts in one line."""
        return (
            f"{len(self.matched)} tensors matched, {len(self.renamed)} of them renamed and "
            f"{len(self.resized)} resized; {len(self.dropped)} dropped on purpose, "
            f"{len(self.missing)} missing, none unexpected; {self.checked}"
        )

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """List every tensor that was not taken as it is: what happened, its name, the outcome."""
        for what, found in (
            ("renamed", self.renamed),
            ("resized", self.resized),
            ("dropped", self.dropped),
            ("missing", self.missing),
        ):
            for key, value in found.items():
                yield what, key, value

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{what}</td><td><code>{html.escape(key)}</code></td>"
            f"<td>{html.escape(value)}</td></tr>"
            for what, key, value in self.rows()
        )
        return (
            f"<p>{html.escape(self.summary())}</p><details><summary>every tensor that was not taken"
            f" as it is</summary><table>{rows}</table></details>"
        )


def fill(
    module: nn.Module,
    converted: Converted,
    what: str,
    *,
    allowed: Allowed = NOTHING,
    converter: str = "as_is",
    checked: str = "content not verifiable",
    resize: bool = False,
    assumed: tuple[str, ...] = (),
) -> LoadReport:
    """Load all tensors into a network, or none.

    Args:
        module: the network; unchanged on any error.
        converted: tensors by the network's names.
        what: what the user asked for, for errors.
        allowed: names that may be missing or left over.
        converter: its name, for the report.
        checked: how the content was checked, for the report.
        assumed: for the report.
        resize: resize position embeddings and relative-position tables to the network's size.

    Raises:
        CheckpointError: a name is missing or unexpected, or a shape differs.
    """
    own = module.state_dict()
    tensors: dict[str, Tensor] = dict(converted.tensors)
    resized: dict[str, str] = {}
    if resize:
        tensors, resized = _resized(module, tensors)
    missing = {key: _why(key, allowed.missing) for key in own.keys() - tensors.keys()}
    surplus = {key: _why(key, allowed.unexpected) for key in tensors.keys() - own.keys()}
    _require_fit(own, tensors, missing, surplus, what)
    origin = {new: old for old, new in converted.renamed.items()}
    taken = {key: tensor for key, tensor in tensors.items() if key in own}
    module.load_state_dict({**own, **taken})
    return LoadReport(
        matched=tuple(sorted(taken)),
        renamed=converted.renamed,
        resized=resized,
        dropped={**converted.dropped, **{origin.get(k, k): str(v) for k, v in surplus.items()}},
        missing={key: str(reason) for key, reason in sorted(missing.items())},
        converter=converter,
        checked=checked,
        assumed=assumed,
    )


def _why(key: str, patterns: Mapping[str, str]) -> str | None:
    """Give the reason why a name may be missing or left over; None where it may not."""
    for pattern, reason in patterns.items():
        if fnmatchcase(key, pattern):
            return reason
    return None


def _require_fit(
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    missing: Mapping[str, str | None],
    surplus: Mapping[str, str | None],
    what: str,
) -> None:
    shared = sorted(own.keys() & tensors.keys())
    problems = {
        "missing in the file": sorted(key for key, reason in missing.items() if reason is None),
        "unexpected in the file": sorted(key for key, reason in surplus.items() if reason is None),
        "of another shape": [
            f"{key} {tuple(tensors[key].shape)} for {tuple(own[key].shape)}"
            for key in shared
            if own[key].shape != tensors[key].shape
        ],
        "of another type": [
            f"{key} {_type(tensors[key])} for {_type(own[key])}"
            for key in shared
            if _type(own[key]) != _type(tensors[key])
        ],
    }
    if not any(problems.values()):
        return _require_finite(shared, own, tensors, what)
    told = "; ".join(f"{len(k)} {name}: {_some(k)}" for name, k in problems.items() if k)
    raise CheckpointError(
        f"{what} does not fit the architecture, nothing was loaded: {told}; name another arch, or "
        "see what the file is with 'mimprobe models check'"
    )


def _require_finite(
    keys: list[str], own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str
) -> None:
    for key in keys:
        if not bool(tensors[key].to(own[key].dtype).isfinite().all()):
            raise CheckpointError(
                f"{what} holds NaN or infinity in {key}, nothing was loaded: the file is damaged, "
                "or its training had diverged"
            )


def _type(tensor: Tensor) -> str:
    """Name what may be converted into each other: any real floating point, any integer."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return f"{tensor.dtype} {tensor.layout}"
    if tensor.is_complex():
        return "complex numbers"
    return "real numbers" if tensor.is_floating_point() else "integers"


def _some(keys: list[str]) -> str:
    rest = len(keys) - SHOWN
    return ", ".join("".join(c if c.isprintable() else "?" for c in k) for k in keys[:SHOWN]) + (
        f" and {rest} more" if rest > 0 else ""
    )


def _resized(
    module: Any, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Resize what depends on the input's size, with timm's functions.

    Absolute position embeddings by bicubic interpolation of the patches' part, relative-position
    tables by interpolation over distances that grow geometrically (BEiT's way).
    """
    out, told = dict(tensors), {}
    for key, tensor in tensors.items():
        target = module.state_dict().get(key)
        if target is None or target.shape == tensor.shape:
            continue
        try:
            changed = _resized_one(module, key, tensor, target)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
            continue  # no size that fits, which the comparison of shapes then tells
        if changed is not None:
            out[key], told[key] = changed
    return out, told


def _resized_one(
    module: Any, key: str, tensor: Tensor, target: Tensor
) -> tuple[Tensor, str] | None:
    """Resize one tensor and say how; None for those that do not depend on the input's size."""
    if key == "pos_embed":
        prefix = 0 if getattr(module, "no_embed_class", False) else module.num_prefix_tokens
        resized: Tensor = resample_abs_pos_embed(
            tensor, new_size=list(module.patch_embed.grid_size), num_prefix_tokens=prefix
        )
        return resized, f"{tensor.shape[1]} to {target.shape[1]} positions"
    if key.endswith(".relative_position_bias_table"):
        owner: Any = module.get_submodule(key.rpartition(".")[0])
        with warnings.catch_warnings():  # torch's, about how timm's interpolation is written
            warnings.simplefilter("ignore", UserWarning)
            table: Tensor = resize_rel_pos_bias_table(
                tensor, new_window_size=owner.window_size, new_bias_shape=tuple(target.shape)
            )
        return table, f"{tensor.shape[0]} to {target.shape[0]} relative positions"
    return None
