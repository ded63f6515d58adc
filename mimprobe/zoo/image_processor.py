"""What an image processor of transformers does, as `Preprocessing`.

What belongs here: its entries, and which of them can be expressed. What does not: the network that
the images are for (`huggingface`). What cannot be expressed is an error, never an approximation.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CheckpointError, MimprobeError
from mimprobe.zoo.snapshot import first_line

PROCESSORS = frozenset({"Beit", "Bit", "CLIP", "DeiT", "ViT"})
"""Families of processors that resize, crop, rescale and normalise, in this order, nothing else."""

UNKNOWN = ("do_pad", "do_flip_channel_order", "offset", "rescale_offset")
"""Entries that change the images in ways that are not known here, when they are set."""


def read_preprocessing(transformers: Any, folder: Path, name: str) -> Preprocessing:
    """Read preprocessor_config.json, with the defaults that transformers fills in.

    Raises:
        CheckpointError: it is missing, damaged, or asks for what `Preprocessing` cannot express.
    """
    if not (folder / "preprocessor_config.json").is_file():
        raise CheckpointError(
            f"{name} has no preprocessor_config.json, so it does not say how images are prepared; "
            "take it from the checkpoint that this one was made from"
        )
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        entries = processor.to_dict()
    except Exception as error:  # JSON, transformers and the operating system each have their own
        raise CheckpointError(
            f"preprocessor_config.json of {name} cannot be read: {first_line(error)}"
        ) from error
    family = re.match(r"(\w+)ImageProcessor", type(processor).__name__)
    if family is None or family[1] not in PROCESSORS:
        raise CheckpointError(
            f"{name} prepares images with {type(processor).__name__}; mimprobe knows those of "
            f"{', '.join(sorted(PROCESSORS))}"
        )
    try:
        return preprocessing_of(entries)
    except (MimprobeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"preprocessor_config.json of {name} asks for what mimprobe cannot do: "
            f"{first_line(error)}"
        ) from error


def preprocessing_of(entries: Mapping[str, Any]) -> Preprocessing:
    """Express the entries of an image processor, with all its defaults, as `Preprocessing`.

    For pixels x in 0 ... 255 the processor computes `(x * factor - mean) / std`, and
    `Preprocessing` `(x / 255 - mean') / std'`; so mean' and std' are its own by `255 * factor`.

    Raises:
        CheckpointError: it does more than this, or leaves images their own size.
        MimprobeError: a mean or standard deviation that pixels cannot have.
    """
    for key in UNKNOWN:
        if entries.get(key):
            raise CheckpointError(f"{key} is set")
    if not entries.get("do_resize"):
        raise CheckpointError("images keep their own size, for do_resize is not set")
    resized, crop_mode = _resized(entries["size"])
    input_size = resized
    if entries.get("do_center_crop"):
        crop = entries["crop_size"]
        input_size = (crop["height"], crop["width"])
    elif crop_mode == "center":
        raise CheckpointError("images keep their own shape, for do_center_crop is not set")
    normal = entries.get("do_normalize")
    scale = 255 * entries["rescale_factor"] if entries.get("do_rescale") else 255
    mean, std = (entries["image_mean"], entries["image_std"]) if normal else ([0] * 3, [1] * 3)
    return Preprocessing.from_dict(
        {
            "input_size": input_size,
            "mean": [value / scale for value in _channels(mean)],
            "std": [value / scale for value in _channels(std)],
            "interpolation": _interpolation(entries["resample"]),
            "crop_pct": _share(input_size, resized, crop_mode),
            "crop_mode": crop_mode,
        }
    )


def _resized(size: Mapping[str, Any]) -> tuple[tuple[int, int], str]:
    """Tell to what an image is resized, and whether that keeps its shape."""
    sides = {key: side for key, side in dict(size).items() if side is not None}
    if sides.keys() == {"height", "width"}:
        return (sides["height"], sides["width"]), "squash"
    if sides.keys() == {"shortest_edge"}:
        return (sides["shortest_edge"], sides["shortest_edge"]), "center"
    raise CheckpointError(f"images are resized to {sides}, not to a height and width or short side")


def _share(cut: tuple[int, int], resized: tuple[int, int], crop_mode: str) -> float:
    """Find the share of the resized image that is cut out, such that rounding leads back to it."""
    if crop_mode == "center" and cut[0] != cut[1]:
        raise CheckpointError(f"{cut[0]} x {cut[1]} pixels are cut out of an image of any shape")
    share = cut[0] / resized[0]
    if share > 1:
        raise CheckpointError(f"{cut[0]} pixels are cut out of {resized[0]}")
    while math.floor(cut[0] / share) < resized[0]:
        share = math.nextafter(share, 0)
    if tuple(math.floor(side / share) for side in cut) != resized:
        raise CheckpointError(
            f"height and width are cut by different shares, {cut} out of {resized} pixels"
        )
    return share


def _channels(values: Any) -> list[float]:
    red, green, blue = values if isinstance(values, list | tuple) else (values,) * 3
    return [float(red), float(green), float(blue)]


def _interpolation(resample: Any) -> str:
    """Name what is a number in files, and may be a name once transformers has read it."""
    found = getattr(resample, "value", resample)
    if isinstance(found, str):
        return found
    return Image.Resampling(found).name.lower()
