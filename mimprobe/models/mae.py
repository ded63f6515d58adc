"""MAE's decoder, from its encoder's tokens of the visible patches to the pixels of all.

What belongs here: the decoder as its paper describes it. What does not: the encoder (timm's), and
reading files (`zoo.decoders`).
"""

from functools import partial

import torch
from jaxtyping import Float, Int
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimprobe.shapes import Images

HEAD_WIDTH = 32
"""Channels of a decoder head in all of MAE's files: 512 in 16 heads."""

_norm = partial(nn.LayerNorm, eps=1e-6)

PatchPixels = Float[Tensor, "batch patch pixel"]
"""The pixels of each patch: row by row, the three colours of a pixel side by side."""


class MAEDecoder(nn.Module):
    """Tokens of visible patches in, pixels of all patches out.

    The encoder's tokens are projected to the decoder's width; where a patch was hidden stands the
    mask token; fixed positions are added, for all patches and the class token; then follow pre-norm
    transformer blocks, a norm, and one linear layer to the pixels of a patch.

    Source: MAE (arXiv 2111.06377), section 3 and appendix A.1.
    """

    def __init__(self, encoder_width: int, width: int, depth: int, hidden: int, grid: int,
                 patch: int) -> None:  # fmt: skip
        """Build a decoder with a `grid` x `grid` of patches of `patch` px; names are MAE's."""
        super().__init__()
        self.patch = patch
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_embed = nn.Linear(encoder_width, width)
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, grid**2 + 1, width))
        self.decoder_blocks = nn.Sequential(
            *(
                Block(width, width // HEAD_WIDTH, hidden / width, qkv_bias=True,
                      norm_layer=_norm, mlp_layer=Mlp)
                for _ in range(depth)
            )
        )  # fmt: skip
        self.decoder_norm = _norm(width)
        self.decoder_pred = nn.Linear(width, patch**2 * 3)

    def forward(
        self, tokens: Float[Tensor, "batch token channel"], visible: Int[Tensor, " kept"]
    ) -> PatchPixels:
        """Predict the pixels of all patches.

        Args:
            tokens: of the encoder: the class token, then the visible patches in the order of
                `visible`.
            visible: their numbers, row by row.
        """
        seen = self.decoder_embed(tokens)
        patches = self.decoder_pos_embed.shape[1] - 1
        every = self.mask_token.to(seen.dtype).expand(len(seen), patches, -1).clone()
        every[:, visible] = seen[:, 1:]
        whole = torch.cat([seen[:, :1], every], 1) + self.decoder_pos_embed
        predicted: Tensor = self.decoder_pred(self.decoder_norm(self.decoder_blocks(whole)))
        return predicted[:, 1:]


def patch_pixels(images: Images, patch: int) -> PatchPixels:
    """Cut images into patches."""
    batch, colours, height, width = images.shape
    rows, columns = height // patch, width // patch
    cut = images.reshape(batch, colours, rows, patch, columns, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch**2 * colours)


def joined_patches(patches: PatchPixels, grid: tuple[int, int], patch: int) -> Images:
    """Put patches together: the inverse of `patch_pixels`."""
    rows, columns = grid
    cut = patches.reshape(len(patches), rows, columns, patch, patch, 3)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), 3, rows * patch, columns * patch)


def unnormalised(predicted: PatchPixels, truth: PatchPixels) -> PatchPixels:
    """Turn predictions of normalised patches into pixels, with each true patch's mean and variance.

    Training with `norm_pix_loss` predicts `(x - mean) / sqrt(var + 1e-6)` of each patch, over its
    pixels and colours, with the unbiased variance. A hidden patch does not tell its mean and
    variance, so this looks at the truth: brightness and contrast of the result are the image's own.
    """
    mean, var = truth.mean(-1, keepdim=True), truth.var(-1, keepdim=True)
    return predicted * (var + 1e-6).sqrt() + mean
