"""What a network expects of an image: its preprocessing, as data and as a function.

What belongs here: evaluation preprocessing. What does not: training augmentation
(`train.samples`) and decoding (`decoding`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import timm.data
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from mimprobe.errors import CardError, OptionError, UnknownNameError

INTERPOLATIONS = ("bicubic", "bilinear", "box", "hamming", "lanczos", "nearest")
CROP_MODES = ("border", "center", "squash")

Pixels = Float[Tensor, "3 height width"]
"""One preprocessed image."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalise, as timm does for evaluation.

    Equal ones prepare images equally, and hash equally.

    Attributes:
        input_size: height and width of the network's input in pixels.
        mean: subtracted from red, green and blue in [0, 1].
        std: what the difference is divided by.
        interpolation: one of `INTERPOLATIONS`.
        crop_pct: the crop as a share of the resized image, at most 1.
        crop_mode: `center` (the short side is fitted, the long one cut), `squash` (both sides are
            fitted) or `border` (the long side is fitted, the short one padded).

    Raises:
        OptionError: a number outside its range.
        UnknownNameError: an interpolation or crop mode that does not exist.
    """

    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if min(self.input_size) < 1:
            raise OptionError(f"input_size must be positive, not {self.input_size}")
        if not all(0 <= value <= 1 for value in self.mean):
            raise OptionError(f"mean is of pixels between 0 and 1, so it cannot be {self.mean}")
        if not all(0 < value <= 1 for value in self.std):
            raise OptionError(f"std is of pixels between 0 and 1, so it cannot be {self.std}")
        if not 0 < self.crop_pct <= 1:
            raise OptionError(f"crop_pct must be above 0 and at most 1, not {self.crop_pct}")
        if self.interpolation not in INTERPOLATIONS:
            raise UnknownNameError("interpolation", self.interpolation, INTERPOLATIONS)
        if self.crop_mode not in CROP_MODES:
            raise UnknownNameError("crop mode", self.crop_mode, CROP_MODES)

    @classmethod
    def from_timm(cls, source: nn.Module | Mapping[str, Any]) -> "Preprocessing":
        """Take the preprocessing of a timm model, or of its `pretrained_cfg`.

        A model that was built for another input size than its configuration says gets its own
        size: with `timm.create_model(..., img_size=384)` the configuration still says 224.

        Raises:
            OptionError: the module does not come from timm, or takes other than RGB images.
        """
        config = source if isinstance(source, Mapping) else getattr(source, "pretrained_cfg", None)
        if not config:
            raise OptionError(
                f"{type(source).__name__} does not say how images are prepared for it; pass "
                "transform= (PIL image to tensor)"
            )
        found = timm.data.resolve_data_config(pretrained_cfg=dict(config))
        channels, *map_size = found["input_size"]
        if channels != 3:
            raise OptionError(f"the model takes images of {channels} channels, not RGB")
        built_for = getattr(getattr(source, "patch_embed", None), "img_size", None)
        return cls(
            input_size=_size("input_size", built_for or map_size),
            mean=_triple("mean", found["mean"]),
            std=_triple("std", found["std"]),
            interpolation=found["interpolation"],
            crop_pct=_number("crop_pct", found["crop_pct"]),
            crop_mode=found["crop_mode"],
        )

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "Preprocessing":
        """Read what `describe` gives, as it stands in cards and weight files.

        Raises:
            CardError: an entry is missing, unknown, or of the wrong type.
            OptionError: a number outside its range.
            UnknownNameError: an interpolation or crop mode that does not exist.
        """
        known = [entry.name for entry in fields(cls)]
        absent = [name for name in known if name not in entries and name != "crop_mode"]
        if absent:
            raise CardError(f"preprocessing lacks {', '.join(absent)}")
        for name in entries:
            if name not in known:
                raise UnknownNameError("preprocessing entry", name, known)
        return cls(
            input_size=_size("input_size", entries["input_size"]),
            mean=_triple("mean", entries["mean"]),
            std=_triple("std", entries["std"]),
            interpolation=str(entries["interpolation"]),
            crop_pct=_number("crop_pct", entries["crop_pct"]),
            crop_mode=str(entries.get("crop_mode", "center")),
        )

    def describe(self) -> dict[str, Any]:
        """Give the preprocessing as data, ready for JSON and TOML."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    def transform(self) -> Callable[[Image.Image], Pixels]:
        """Build what turns an RGB image into a network's input, without any randomness."""
        transform: Callable[[Image.Image], Pixels] = timm.data.create_transform(
            input_size=(3, *self.input_size),
            is_training=False,
            mean=self.mean,
            std=self.std,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
        )
        return transform


def _size(name: str, value: object) -> tuple[int, int]:
    if isinstance(value, list | tuple) and [type(side) for side in value] == [int, int]:
        return value[0], value[1]
    raise CardError(f"{name} must be height and width in whole pixels, not {value!r}")


def _triple(name: str, value: object) -> tuple[float, float, float]:
    if isinstance(value, list | tuple) and len(value) == 3:
        red, green, blue = (_number(name, channel) for channel in value)
        return red, green, blue
    raise CardError(f"{name} must be three numbers, for red, green and blue, not {value!r}")


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise CardError(f"{name} must be a number, not {value!r}")
