"""The network that is trained: a ViT, BEiT, Swin or SwinV2 of timm.

What belongs here: building it from the settings of a run, and its features as one map. What does
not: heads and losses.
"""

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mimprobe.errors import OptionError
from mimprobe.shapes import FeatureMap, Images
from mimprobe.train.config import TrainConfig
from mimprobe.zoo.build import create
from mimprobe.zoo.shelf import card_names, find_card

ENCODERS = (VisionTransformer, Beit, SwinTransformer, SwinTransformerV2)
"""What can be trained: `patch_embed` yields tokens, and `forward_features` keeps their places."""


def architecture(config: TrainConfig, classes: int) -> tuple[str, dict[str, Any]]:
    """Give name and arguments with which `create` builds the encoder of a run again.

    Args:
        config: of the run; its `arch` may be a card, whose architecture is then taken.
        classes: outputs of the classifier; 0 for none.

    Raises:
        UnknownNameError: neither timm nor a card has that name.
        CheckpointError: it does not take these arguments.
    """
    card = find_card(config.arch) if config.arch in card_names() else None
    name = card.architecture if card else config.arch
    height, width = config.input_shape
    arguments: dict[str, Any] = {
        **(card.arguments if card else {}), **config.arch_args,
        "img_size": height if height == width else [height, width], "num_classes": classes,
    }  # fmt: skip
    return name, arguments | _pooling(name, arguments, classes)


def build_encoder(config: TrainConfig, classes: int) -> Any:
    """Build the untrained encoder of a run, with a classifier for `classes`, or none for 0.

    Raises:
        UnknownNameError: neither timm nor a card has that name.
        CheckpointError: it does not take these arguments.
        OptionError: it is of another family, or the input does not divide into its patches.
    """
    name, arguments = architecture(config, classes)
    # Always given: timm's Swin would else drop a tenth of its paths.
    encoder = create(name, {**arguments, "drop_path_rate": config.drop_path})
    if type(encoder) not in ENCODERS:
        raise OptionError(
            f"{config.arch} is a {type(encoder).__name__}; the trainer takes timm's plain ViT, "
            "BEiT, Swin and SwinV2, such as vit_small_patch16_224"
        )
    stem: Any = encoder.patch_embed
    height, width = config.input_shape
    rows, columns = stem.patch_size
    if height % rows or width % columns:
        raise OptionError(
            f"an input of {_pixels(height, width)} does not divide into patches of {rows} x "
            f"{columns} px; choose a multiple"
        )
    return encoder


def feature_map(encoder: Any, images: Images) -> FeatureMap:
    """Give the encoder's last features at their places, without prefix tokens."""
    tokens = encoder.forward_features(images)
    if tokens.ndim == 4:  # Swin's are (batch, row, column, channel)
        staged: FeatureMap = tokens.permute(0, 3, 1, 2)
        return staged
    rows, columns = encoder.patch_embed.grid_size
    patches = tokens[:, encoder.num_prefix_tokens :]
    plain: FeatureMap = patches.transpose(1, 2).unflatten(2, (rows, columns))
    return plain


def output_stride(encoder: Any) -> int:
    """Give the pixels between two places of the encoder's last features, in rows and columns."""
    stride: int = encoder.feature_info[-1]["reduction"]
    return stride


def _pooling(name: str, arguments: Mapping[str, Any], classes: int) -> dict[str, str]:
    """Put the last norm among the features where there is no classifier, else let it pool.

    Some networks normalise after pooling: without a classifier that norm would never be trained.
    """
    with torch.device("meta"):
        shape: Any = create(name, arguments)
    if not classes and isinstance(getattr(shape, "fc_norm", None), nn.LayerNorm):
        return {"global_pool": ""}
    if classes and getattr(shape, "global_pool", None) == "":
        return {"global_pool": "avg"}
    return {}


def _pixels(height: int, width: int) -> str:
    return f"{height} px" if height == width else f"{height} x {width} px"
