"""How far hidden pixels are from visible ones: AvgDist of SimMIM.

What belongs here: numbers of a mask. What does not: drawing masks (`data.masks`), and means over
many of them (`experiments.mask_distance`).
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from mimprobe.errors import NothingVisibleError, OptionError


def mask_distance(
    masked: npt.NDArray[np.bool_], *, stride: int | tuple[int, int] = 1
) -> npt.NDArray[np.float64]:
    """The mean distance of masked pixels to the nearest visible pixel of the same image.

        AvgDist = mean over masked pixels p of min over visible pixels q of |p - q|

    Args:
        masked: batch x rows x columns, True where masked.
        stride: height and width of a mask's place in pixels; each place is that many pixels.

    Returns:
        One number in pixels for each mask; at least 1.

    Raises:
        NothingVisibleError: a mask hides everything, so that there is no nearest visible pixel.
        OptionError: a mask hides nothing.

    Source: SimMIM (arXiv 2111.09886), section 4.1; the paper finds the best accuracy at 10 to 20 px
    of an input of 192 px.
    """
    hidden = masked.reshape(len(masked), -1)
    if hidden.all(1).any():
        raise NothingVisibleError("AvgDist is not defined for a mask that hides everything")
    if not hidden.any(1).all():
        raise OptionError("AvgDist is not defined for a mask that hides nothing")
    height, width = (stride, stride) if isinstance(stride, int) else stride
    pixels = masked.repeat(height, axis=1).repeat(width, axis=2)
    return np.array([float(distance_transform_edt(one)[one].mean()) for one in pixels])
