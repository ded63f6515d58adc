"""SimMIM: predict what masked patches show (arXiv 2111.09886).

The encoder is timm's own, fitted from outside: a hook on `patch_embed` puts the mask token in place
of masked patch embeddings, before the class token and the first block.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimprobe.data.images import ImageSet
from mimprobe.data.masks import MASKS
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.shapes import Images, PatchMask, PixelMask, Predictions
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives.encoder import build_encoder, feature_map, output_stride
from mimprobe.train.objectives.heads import HEADS, Outlet
from mimprobe.train.objectives.targets import TARGETS, Clusters, Target

EPSILON = 1e-5
"""Added to the number of pixels that count, which may be none."""


class SimMIM(nn.Module):
    """An encoder, a mask token, a head and a target, with the loss on masked pixels."""

    kind = "mim"

    def __init__(self, config: TrainConfig, classes: Sequence[str]) -> None:  # noqa: ARG002
        """Build the encoder without a classifier; `classes` are not used.

        Raises:
            OptionError: the sizes of input, patches, masks and target do not fit each other, or a
                mask hides everything.
        """
        super().__init__()
        self.encoder: Any = build_encoder(config, 0)
        self.target: Target = TARGETS[config.target](config)
        self.patch: int = _square_patch(self.encoder)
        self.grid: tuple[int, int] = self.encoder.patch_embed.grid_size
        self.cell, self.ratio = config.mask_patch // self.patch, config.mask_ratio
        self.everywhere = config.loss_on == "all"
        stride = output_stride(self.encoder)
        _check_sizes(config, self.patch, stride, self.target.scale)
        if config.mask not in MASKS:
            raise UnknownNameError("mask", config.mask, MASKS)
        self.draw: Callable[..., npt.NDArray[np.bool_]] = MASKS[config.mask]
        self.sample(0, np.random.default_rng(0))  # raises where nothing would be visible
        self.mask_token = nn.Parameter(torch.zeros(1, 1, _token_width(self.encoder)))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        outlet = Outlet(
            self.encoder.num_features,
            (config.input_shape[0] // stride, config.input_shape[1] // stride),
            stride, self.target.outputs, self.target.scale,
        )  # fmt: skip
        outlet.check()
        self.head = HEADS[config.head](outlet)

    def learn(self, images: ImageSet, directory: Path) -> None:
        """Let the target look at the training images, where it has to, before the first step.

        Args:
            images: of the training.
            directory: of the run, where what was learned is stored, and found again.
        """
        if isinstance(self.target, Clusters):
            self.target.learn(images, directory)

    def sample(self, label: int, generator: np.random.Generator) -> Tensor:  # noqa: ARG002
        """Draw the mask of one image, as a boolean patch grid."""
        mask = self.draw(self.grid, cell=self.cell, ratio=self.ratio, generator=generator)
        return torch.from_numpy(mask)

    def predict(self, images: Images, mask: PatchMask) -> Predictions:
        """Predict the target from the visible patches, as the head gives it."""

        def hide(module: nn.Module, inputs: tuple[Tensor], tokens: Tensor) -> Tensor:  # noqa: ARG001
            hidden = mask.reshape(*tokens.shape[:-1], 1)
            return torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)

        with self.encoder.patch_embed.register_forward_hook(hide):
            features = feature_map(self.encoder, images)
        predicted: Predictions = self.head(features).to(images.dtype)
        return predicted

    def reconstruct(self, images: Images, mask: PatchMask) -> Images:
        """Predict all pixels from the visible patches, in the normalised space of the input.

        Raises:
            OptionError: the target has no colours.
        """
        return self.target.picture(self.predict(images, mask), images)

    def loss_parts(
        self, images: Images, mask: PatchMask
    ) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        """Give the sum of the errors that count, and the number of pixels of the target that do.

        Both are sums over images: those of several processes or batches add up, and the loss of
        all of them is `sum / (count + 1e-5)`.
        """
        errors = self.target.errors(self.predict(images, mask), images)
        counted = self._counted(mask)
        return (errors * counted).sum(), counted.sum()

    def forward(self, images: Images, mask: PatchMask) -> Float[Tensor, ""]:
        """Give the mean error of the pixels that count.

        For pixels and L1: `sum(|x - x'| M) / (sum(M) + 1e-5) / 3`, with M one on masked pixels.
        """
        total, count = self.loss_parts(images, mask)
        return total / (count.to(total.dtype) + EPSILON)

    def _counted(self, mask: PatchMask) -> PixelMask:
        """Give the pixels of the target that count, at its resolution."""
        chosen = torch.ones_like(mask) if self.everywhere else mask
        scale = self.target.scale
        if scale > self.patch:  # masks consist of whole pixels of such a target
            step = scale // self.patch
            return chosen[:, ::step, ::step]
        pixels = self.patch // scale
        return chosen.repeat_interleave(pixels, 1).repeat_interleave(pixels, 2)


def _square_patch(encoder: Any) -> int:
    rows, columns = encoder.patch_embed.patch_size
    if rows != columns:
        raise OptionError(f"patches of {rows} x {columns} px are not square; choose another model")
    side: int = rows
    return side


def _token_width(encoder: Any) -> int:
    """Count the channels of a patch embedding; Swin's later stages have more."""
    width: int = encoder.patch_embed.proj.out_channels
    return width


def _check_sizes(config: TrainConfig, patch: int, stride: int, scale: int) -> None:
    """Hold the sizes of masks and target against those of input and model.

    Raises:
        OptionError: one does not divide another.
    """
    if config.mask_patch % patch:
        raise OptionError(
            f"mask patch {config.mask_patch} px is not a multiple of the model's patch "
            f"{patch} x {patch} px; choose a multiple"
        )
    height, width = config.input_shape
    told = f"{height} px" if height == width else f"{height} x {width} px"
    for size, what in (
        (config.mask_patch, f"mask patches of {config.mask_patch} px"),
        (stride, f"places of {stride} px, as the model's last stage has them"),
    ):
        if height % size or width % size:
            raise OptionError(f"an input of {told} does not divide into {what}; choose a multiple")
    if patch % scale and scale % patch:
        raise OptionError(
            f"a target at 1/{scale} of the input does not fit patches of {patch} px; choose a "
            "target_scale that divides them"
        )
    if scale > patch and config.mask_patch % scale:
        raise OptionError(
            f"a target at 1/{scale} of the input is coarser than mask patches of "
            f"{config.mask_patch} px allow; choose a mask_patch that is a multiple of {scale} px"
        )
