"""The network that is trained: a ViT of timm."""

from typing import Any

from timm.models.vision_transformer import VisionTransformer

from mimprobe.errors import OptionError
from mimprobe.train.config import TrainConfig
from mimprobe.zoo.build import create


def vit_encoder(config: TrainConfig, classes: int) -> VisionTransformer:
    """Build the untrained ViT of a run, with a classifier for `classes`, or none for 0.

    Raises:
        UnknownNameError: timm has no such model.
        CheckpointError: it does not take these arguments.
        OptionError: it is no ViT, or the input does not divide into its patches.
    """
    encoder = create(
        config.arch,
        {
            **config.arch_args, "img_size": config.input_size, "num_classes": classes,
            "drop_path_rate": config.drop_path,
        },
    )  # fmt: skip
    if type(encoder) is not VisionTransformer:
        raise OptionError(
            f"{config.arch} is a {type(encoder).__name__}; the trainer takes timm's plain ViTs, "
            "such as vit_small_patch16_224"
        )
    stem: Any = encoder.patch_embed
    rows, columns = stem.patch_size
    if config.input_size % rows or config.input_size % columns:
        raise OptionError(
            f"an input of {config.input_size} px does not divide into patches of {rows} x {columns}"
            " px; choose a multiple"
        )
    return encoder
