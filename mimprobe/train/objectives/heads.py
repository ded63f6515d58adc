"""Heads: from the encoder's features to predictions at the resolution of the target.

What belongs here: heads of one or two layers, and the dict that names all of them. What does not:
the inverse Swins (`inverse_swin`), and what the predictions mean (`targets`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from mimprobe.errors import OptionError
from mimprobe.train.objectives.inverse_swin import InverseSwin


@dataclass(frozen=True)
class Outlet:
    """What a head takes and gives.

    Attributes:
        width: channels of the encoder's features.
        grid: rows and columns of the encoder's features.
        stride: pixels of the input between two of their places.
        outputs: numbers for each pixel of the target.
        scale: pixels of the input between two pixels of the target.
    """

    width: int
    grid: tuple[int, int]
    stride: int
    outputs: int
    scale: int

    def check(self) -> None:
        """Refuse resolutions that do not divide.

        Raises:
            OptionError: neither stride nor scale is a multiple of the other, or a pixel of the
                target would reach beyond the features.
        """
        cells = max(1, self.scale // self.stride)
        if (self.stride % self.scale and self.scale % self.stride) or any(
            side % cells for side in self.grid
        ):
            rows, columns = self.grid
            raise OptionError(
                f"a target at 1/{self.scale} of the input does not fit {rows} x {columns} features "
                f"that are {self.stride} px apart; choose a target_scale that divides {self.stride}"
            )


def linear(outlet: Outlet) -> nn.Sequential:
    """Predict all pixels of a place by one linear layer: the head of the paper.

    Channel `c r^2 + i r + j` of the layer is output c of the pixel in row i and column j of the
    place, with `r = stride / scale`. Where the target is coarser than the features, the predictions
    of its places are averaged.

    Shapes: features (batch, width, row, column) to (batch, outputs, r row, r column).
    """
    pixels = max(1, outlet.stride // outlet.scale)
    layers: list[nn.Module] = [
        nn.Conv2d(outlet.width, pixels**2 * outlet.outputs, kernel_size=1),
        nn.PixelShuffle(pixels),
    ]
    if outlet.scale > outlet.stride:
        layers.append(nn.AvgPool2d(outlet.scale // outlet.stride))
    return nn.Sequential(*layers)


def mlp(outlet: Outlet) -> nn.Sequential:
    """Predict by two layers with a GELU between them; the hidden one is as wide as the features."""
    hidden = nn.Conv2d(outlet.width, outlet.width, kernel_size=1)
    return nn.Sequential(hidden, nn.GELU(), *linear(outlet))


def inverse_swin_t(outlet: Outlet) -> nn.Sequential:
    """Predict by the mirror image of Swin-T."""
    return _inverse_swin(outlet, base=96, depths=(2, 2, 6, 2), head_width=32)


def inverse_swin_b(outlet: Outlet) -> nn.Sequential:
    """Predict by the mirror image of Swin-B."""
    return _inverse_swin(outlet, base=128, depths=(2, 2, 18, 2), head_width=32)


def _inverse_swin(
    outlet: Outlet, *, base: int, depths: tuple[int, ...], head_width: int
) -> nn.Sequential:
    body = InverseSwin(
        outlet.width, outlet.grid, outlet.stride, until=outlet.scale, base=base, depths=depths,
        head_width=head_width,
    )  # fmt: skip
    last = replace(outlet, width=body.width, grid=body.grid, stride=body.stride)
    return nn.Sequential(body, *linear(last))


HEADS: dict[str, Callable[[Outlet], nn.Sequential]] = {
    "linear": linear,
    "mlp": mlp,
    "inverse-swin-t": inverse_swin_t,
    "inverse-swin-b": inverse_swin_b,
}
"""By the name in `TrainConfig.head`."""
