"""A Swin turned round: from coarse features to fine ones.

SimMIM names an inverse Swin-T and Swin-B among its heads (arXiv 2111.09886); its published code
does not contain them. Here the stages of a Swin stand in reverse, and between two of them each
place becomes 2 x 2, by a linear layer and a pixel shuffle, where Swin merges 2 x 2 places into one.
"""

import math

from jaxtyping import Float
from timm.models.swin_transformer import SwinTransformerStage
from torch import Tensor, nn

from mimprobe.shapes import FeatureMap

FINEST = 4
"""Pixels between two places of Swin's first stage, the last one here."""

Finer = Float[Tensor, "batch finer_channel finer_row finer_column"]


class InverseSwin(nn.Module):
    """Stages of Swin from that of the features' stride down to that of the first stage.

    Attributes:
        width: channels of what comes out.
        grid: rows and columns of what comes out.
        stride: pixels of the input between two of its places.
    """

    def __init__(
        self, width: int, grid: tuple[int, int], stride: int, *, until: int, base: int,
        depths: tuple[int, ...], head_width: int,
    ) -> None:  # fmt: skip
        """Build the stages.

        Args:
            width: channels of the features.
            grid: rows and columns of the features.
            stride: pixels of the input between two places of the features.
            until: no stage is finer than this stride.
            base: channels of Swin's first stage; each further one has twice as many.
            depths: blocks of Swin's stages.
            head_width: channels of an attention head.
        """
        super().__init__()
        stage = min(len(depths) - 1, max(0, round(math.log2(stride / FINEST))))
        window = (_window(grid[0]), _window(grid[1]))
        layers: list[nn.Module] = [nn.Conv2d(width, base * 2**stage, kernel_size=1)]
        while True:
            layers.append(_Blocks(base * 2**stage, grid, depths[stage], head_width, window))
            if stage == 0 or stride % 2 or stride // 2 < max(FINEST, until):
                break
            layers.append(_Expansion(base * 2**stage))
            stage, stride, grid = stage - 1, stride // 2, (2 * grid[0], 2 * grid[1])
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(base * 2**stage)
        self.width, self.grid, self.stride = base * 2**stage, grid, stride

    def forward(self, features: FeatureMap) -> Finer:
        """Give finer features."""
        finer: Finer = self.layers(features)
        normed: Finer = self.norm(finer.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class _Blocks(nn.Module):
    """One stage of Swin, on maps with the channels first."""

    def __init__(
        self, width: int, grid: tuple[int, int], depth: int, head_width: int,
        window: tuple[int, int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.stage = SwinTransformerStage(
            width, width, grid, depth, downsample=False, num_heads=width // head_width,
            window_size=window,
        )  # fmt: skip

    def forward(self, features: FeatureMap) -> FeatureMap:
        mixed: FeatureMap = self.stage(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return mixed


class _Expansion(nn.Module):
    """Make 2 x 2 places of half the channels out of each one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.spread = nn.Linear(width, 2 * width, bias=False)

    def forward(self, features: FeatureMap) -> Finer:
        spread = self.spread(self.norm(features.permute(0, 2, 3, 1)))
        return nn.functional.pixel_shuffle(spread.permute(0, 3, 1, 2), 2)


def _window(side: int) -> int:
    """Give the largest window up to Swin's usual 7 that divides the map; timm pads if none does."""
    dividing = max(size for size in range(1, 8) if side % size == 0)
    return dividing if dividing > 3 else 7
