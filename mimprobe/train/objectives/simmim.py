"""SimMIM: predict the pixels of masked patches (arXiv 2111.09886).

The encoder is timm's own, fitted from outside: a hook on `patch_embed` puts the mask token in place
of masked patch embeddings, before the class token and the first block.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mimprobe.data.masks import random_mask
from mimprobe.errors import OptionError
from mimprobe.shapes import Images, PatchMask
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives.encoder import vit_encoder


class SimMIM(nn.Module):
    """A ViT encoder, a mask token and a linear pixel head, with the L1 loss on masked pixels."""

    kind = "mim"

    def __init__(self, config: TrainConfig, classes: Sequence[str]) -> None:  # noqa: ARG002
        """Build the encoder without a classifier; `classes` are not used."""
        super().__init__()
        self.encoder: Any = vit_encoder(config, 0)
        patch = self.encoder.patch_embed.patch_size
        if patch[0] != patch[1] or config.mask_patch % patch[0]:
            raise OptionError(
                f"mask patch {config.mask_patch} px is not a multiple of the model's patch "
                f"{patch[0]} x {patch[1]} px; choose a multiple"
            )
        if config.input_size % config.mask_patch:
            raise OptionError(
                f"an input of {config.input_size} px does not divide into mask patches of "
                f"{config.mask_patch} px; choose a multiple"
            )
        self.stride: int = patch[0]
        self.cell = config.mask_patch // self.stride
        self.ratio = config.mask_ratio
        self.grid: tuple[int, int] = self.encoder.patch_embed.grid_size
        random_mask(self.grid, cell=self.cell, ratio=self.ratio, generator=np.random.default_rng(0))
        width = self.encoder.embed_dim
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.head = nn.Sequential(
            nn.Conv2d(width, self.stride**2 * 3, kernel_size=1), nn.PixelShuffle(self.stride)
        )

    def sample(self, label: int, generator: np.random.Generator) -> Tensor:  # noqa: ARG002
        """Draw the mask of one image, as a boolean patch grid."""
        mask = random_mask(self.grid, cell=self.cell, ratio=self.ratio, generator=generator)
        return torch.from_numpy(mask)

    def reconstruct(self, images: Images, mask: PatchMask) -> Images:
        """Predict all pixels from the visible patches, in the normalised space of the input."""

        def hide(module: nn.Module, inputs: tuple[Tensor], tokens: Tensor) -> Tensor:  # noqa: ARG001
            hidden = mask.reshape(*tokens.shape[:-1], 1)
            return torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)

        with self.encoder.patch_embed.register_forward_hook(hide):
            tokens = self.encoder.forward_features(images)
        patches = tokens[:, self.encoder.num_prefix_tokens :]
        rows, columns = self.grid
        predicted: Images = self.head(patches.transpose(1, 2).unflatten(2, (rows, columns)))
        return predicted

    def loss_parts(
        self, images: Images, mask: PatchMask
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Give `sum(|x - x'| M)` and `3 sum(M)`, with M one on masked pixels: both add up."""
        predicted = self.reconstruct(images, mask)
        pixels = mask.repeat_interleave(self.stride, 1).repeat_interleave(self.stride, 2)
        weight = pixels.unsqueeze(1).to(images.dtype)
        error = (images - predicted.to(images.dtype)).abs()
        return (error * weight).sum(), 3 * weight.sum()

    def forward(self, images: Images, mask: PatchMask) -> Float[Tensor, ""]:
        """Give `sum(|x - x'| M) / (sum(M) + 1e-5) / 3`, with M one on masked pixels."""
        total, count = self.loss_parts(images, mask)
        return total / (count + 3e-5)
