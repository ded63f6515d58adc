"""From mimprobe's names to those of the original SimMIM: the way back from `convert.simmim`.

What belongs here: names and layout of the original's pre-training files. What does not: which files
mimprobe reads, and its own format (`train.checkpoint`).
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimprobe.errors import CheckpointError, OutputError, UnknownNameError
from mimprobe.tables import write_atomically
from mimprobe.zoo.load import load_model
from mimprobe.zoo.weights import read_weights

FORMATS = ("simmim",)
"""What weights can be written as."""


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str = "simmim",  # noqa: A002
    overwrite: bool = False,
) -> Path:
    """Write a model of mimprobe's SimMIM trainer with the names of another's code.

    `simmim` is what `microsoft/SimMIM` reads: a PyTorch file with the entry `model`, in it the
    encoder under `encoder.`, its mask token, and the linear head as `decoder.0`. Swin's
    down-sampling stands at the end of a stage. A plain ViT becomes the original's ViT with absolute
    positions: its queries' and values' biases stand alone, since a bias of keys adds the same to
    all logits of a query and so changes no attention. Tables that code computes from sizes are left
    out, as the original recomputes them.

    Args:
        checkpoint: a bundled SimMIM model, or the `model.safetensors` of a run.
        path: of the new file.
        format: one of `FORMATS`.
        overwrite: replace the file if it is there.

    Raises:
        CheckpointError: it is no SimMIM model of mimprobe's trainer, or has parts that the original
            does not have.
        OutputError: the file is there already.
        UnknownNameError: no such format.
    """
    if format not in FORMATS:
        raise UnknownNameError("format of weights", format, FORMATS)
    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputError(
            f"{target} is already there; pass --overwrite (overwrite=True) to replace it"
        )
    model = load_model(checkpoint, device="cpu")
    source = Path(model.reference)
    if model.card is not None and model.card.bundled_weights is not None:
        source = model.card.bundled_weights
    metadata: Mapping[str, Any] = {}
    if source.is_file():
        file = read_weights(source)
        metadata = file.metadata.get("training", {})
    if metadata.get("objective") != "simmim":
        raise CheckpointError(
            f"{model.reference} was not trained by 'mimprobe pretrain simmim'; only such models "
            "can be exported"
        )
    tensors = {f"encoder.{key}": value for key, value in encoder_tensors(model.module).items()}
    tensors |= _head_tensors(file.tensors)
    tensors = {key: value.float().contiguous().clone() for key, value in tensors.items()}
    write_atomically(target, lambda opened: torch.save({"model": tensors}, opened))
    return target


def encoder_tensors(encoder: nn.Module) -> dict[str, Tensor]:
    """Give an encoder's tensors under the original's names.

    Raises:
        CheckpointError: the original has no such network.
    """
    state = encoder.state_dict()
    if type(encoder) is Beit:
        return _without_tables(state)
    if type(encoder) is VisionTransformer:
        return _vit_tensors(state)
    if type(encoder) in (SwinTransformer, SwinTransformerV2):
        return {_swin_name(key): value for key, value in _without_tables(state).items()}
    raise CheckpointError(
        f"the original SimMIM has no {type(encoder).__name__}; ViT, BEiT, Swin and SwinV2 can be "
        "exported"
    )


def _head_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename mask token and linear head."""
    own = {key: value for key, value in tensors.items() if not key.startswith("encoder.")}
    if own.keys() != {"mask_token", "head.0.weight", "head.0.bias"}:
        raise CheckpointError(
            "the original SimMIM has a linear head alone; this model's head cannot be exported "
            f"({', '.join(sorted(own)[:4])})"
        )
    return {
        "encoder.mask_token": own["mask_token"],
        "decoder.0.weight": own["head.0.weight"],
        "decoder.0.bias": own["head.0.bias"],
    }


def _without_tables(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    computed = ("relative_position_index", "relative_coords_table", "attn_mask")
    return {k: v for k, v in state.items() if k.rpartition(".")[2] not in computed}


def _vit_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Part the joint bias of queries, keys and values, and name layer scale as BEiT does."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith(".attn.qkv.bias"):
            query, _, values = value.chunk(3)
            found[key.removesuffix("qkv.bias") + "q_bias"] = query
            found[key.removesuffix("qkv.bias") + "v_bias"] = values
        else:
            found[re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", key)] = value
    unknown = [key for key in found if re.search(r"reg_token|dist_token|norm_pre|_norm\.", key)]
    if unknown or "cls_token" not in found or "blocks.0.attn.q_bias" not in found:
        told = unknown[0] if unknown else "no class token, or no bias of queries"
        raise CheckpointError(f"the original SimMIM's ViT cannot hold this one ({told})")
    return found


def _swin_name(key: str) -> str:
    """Move down-sampling from the start of a stage to the end of the one before."""
    key = key.replace(".attn.cpb_mlp.", ".attn.rpe_mlp.")
    stage = re.match(r"layers\.(\d+)\.downsample\.", key)
    if stage is None:
        return key
    return f"layers.{int(stage[1]) - 1}.downsample.{key[stage.end() :]}"
