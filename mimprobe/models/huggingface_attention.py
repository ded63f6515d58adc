"""How the attention of Hugging Face's transformers is tapped.

What belongs here: transformers' attention classes by name, and an attention function that shows its
probabilities. What does not: where a network keeps them (`huggingface`), and hooks.

Attention comes in three forms. Most classes ask a registry for the function that their
`config._attn_implementation` names: while tapped, an attention module sees `_Tapped` in place of
its configuration, which names `tapped_attention`; the configuration itself and the layers that
nobody observes stay as they are. Others have a `dropout` that takes the probabilities, and some of
those a subclass with a fused forward pass, which is replaced by its parent's.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mimprobe.models.interception import attention_probabilities
from mimprobe.models.sites import Tap
from mimprobe.models.switches import Switch

IMPLEMENTATION = "mimprobe_tapped"
"""Name of `tapped_attention` in transformers' registry of attention functions."""


def _through_registry(attention: Any) -> Tap:
    its_own = importlib.import_module(type(attention).__module__)
    its_own.ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, tapped_attention)
    tap = nn.Identity()
    switch = Switch(attention, "config", _Tapped(attention.config, tap))
    return Tap(_heads(attention), tap, None, switches=(switch,))


def _through_dropout(attention: Any) -> Tap:
    return Tap(_heads(attention), attention.dropout, attention)


def _through_parent(attention: Any) -> Tap:
    unfused = super(type(attention), attention).forward
    switch = Switch(attention, "forward", unfused)
    return Tap(_heads(attention), attention.dropout, attention, switches=(switch,))


ATTENTION_CLASSES: Mapping[str, Callable[[Any], Tap]] = {
    "ViTAttention": _through_registry,
    "DeiTAttention": _through_registry,
    "ViTMAEAttention": _through_registry,
    "Dinov2Attention": _through_registry,
    "Dinov2WithRegistersAttention": _through_registry,
    "DINOv3ViTAttention": _through_registry,
    "CLIPAttention": _through_registry,
    "SiglipAttention": _through_registry,
    "BeitAttention": _through_registry,
    "Data2VecVisionSelfAttention": _through_dropout,
    "Data2VecVisionSdpaSelfAttention": _through_parent,
    "SwinAttention": _through_registry,
    "Swinv2SelfAttention": _through_dropout,
    # Names of the same in older versions, down to transformers 4.57:
    "ViTSelfAttention": _through_registry,
    "DeiTSelfAttention": _through_registry,
    "ViTMAESelfAttention": _through_registry,
    "Dinov2SelfAttention": _through_registry,
    "Dinov2WithRegistersSelfAttention": _through_registry,
    "BeitSelfAttention": _through_dropout,
    "BeitSdpaSelfAttention": _through_parent,
    "SwinSelfAttention": _through_dropout,
}
"""Modules with probabilities of shape (batch, head, query, key), and how they are tapped."""


class _Tapped:
    """A configuration that names `tapped_attention`, and is the one behind it in all else."""

    _attn_implementation = IMPLEMENTATION

    def __init__(self, config: Any, tap: nn.Module) -> None:
        self.config = config
        # A context within a context does not take the outer one's view.
        self.taps: tuple[nn.Module, ...] = (*getattr(config, "taps", ()), tap)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)


def tapped_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute what transformers' eager attention does, and show the probabilities before dropout.

    They are not returned: Swin's stages would keep each block's map until the next one's is made.
    """
    attention = attention_probabilities(query, key, attention_mask, scale=scaling)
    for tap in module.config.taps:
        tap(attention)
    attention = F.dropout(attention.to(value.dtype), p=dropout, training=module.training)
    return (attention @ value).transpose(1, 2).contiguous(), None


def _heads(attention: Any) -> int:
    """Count the heads, which are called otherwise in some classes."""
    own = vars(attention)
    return int(own.get("num_attention_heads", own.get("num_heads")))


def class_name(kind: type) -> str:
    """Name a class of transformers' networks; empty for any other."""
    return kind.__name__ if kind.__module__.startswith("transformers.models.") else ""
