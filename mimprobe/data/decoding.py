"""From the bytes of an image file to the picture that a person would see: RGB, 8 bits, upright.

What belongs here: one file or one PIL image at a time. What does not: which files there are
(`listing`) and what a network wants of a picture (`transforms`).

    grey, 1 bit, palette, CMYK, YCbCr, LAB    Pillow's conversion; ICC profiles are ignored
    CMYK in JPEG                              inverted as Adobe writes it, as Pillow and browsers do
    16-bit grey                               value / 257, rounded (Pillow's own conversion clips)
    16-bit colour                             the high byte, which is all that Pillow keeps
    32-bit whole numbers                      as 16-bit grey if between 0 and 65535, else refused
    floating point                            times 255 if between 0 and 1, else refused
    transparency                              laid over white, as a viewer shows it
    EXIF orientation                          applied; a damaged EXIF block counts as upright
    several frames                            the first

Transparency is not just dropped, as `convert("RGB")` would: what lies under transparent pixels is
whatever the editing program left there, and a network would see what no viewer shows.
"""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mimprobe.errors import ImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's readers that may see a file: others, such as the one for EPS, start programs."""

ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings each orientation upright; 1, and anything not listed, is upright already."""


def decode_file(path: Path) -> Image.Image:
    """Read an image file as upright 8-bit RGB.

    Raises:
        ImageError: the file cannot be read, is no image, is damaged, or is too large to be safe.
    """
    try:
        # Given a path, Pillow maps some files, and mixes up the rows of a TIFF that lies on its
        # side; given the bytes, it does not.
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    return decode_bytes(content, str(path))


def decode_bytes(content: bytes, name: str) -> Image.Image:
    """Read the bytes of an image file as upright 8-bit RGB; `name` is for messages.

    Raises:
        ImageError: it is no image, is damaged, or is too large to be safe.
    """
    try:
        with _opened(content) as image:
            return decode(image)
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error


def decode(image: Image.Image) -> Image.Image:
    """Turn any PIL image into a new, upright 8-bit RGB one without metadata.

    Raises:
        ImageError: it cannot be decoded; the message starts with a verb, for the caller to put the
            image's name before it.
    """
    try:
        image.load()
        picture = _as_rgb(_upright(image))
    except ImageError:
        raise
    except Exception as error:  # a decoder fed with damaged bytes raises anything
        raise ImageError(f"is truncated or damaged: {_reason(error)}") from error
    # Left in place, the orientation would be applied again by whoever looks for one.
    picture.info.clear()
    return picture


def _opened(content: bytes) -> Image.Image:
    """Read the header of an image file and check the size that it announces."""
    if not content:
        raise ImageError("is empty (0 bytes)")
    limit = Image.MAX_IMAGE_PIXELS
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(f"is not an image: it starts with {content[:16]!r}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"is too large to be safe: more than {limit:,} pixels") from error
    except Exception as error:  # as in `decode`
        raise ImageError(f"is truncated or damaged: {_reason(error)}") from error
    if limit is not None and image.width * image.height > limit:
        raise ImageError(f"is too large to be safe: more than {limit:,} pixels")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation.

    `ImageOps.exif_transpose` would also write the EXIF block anew, which fails where it is damaged.
    """
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the block may hold anything, and the picture is whole without it
        return image
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert every mode to RGB."""
    if image.mode.startswith("I;16"):
        return _from_sixteen_bits(np.asarray(image), image.info.get("transparency"))
    if image.mode == "I":
        _check_range(image, 0, 65535, "whole")
        return _from_sixteen_bits(np.asarray(image), image.info.get("transparency"))
    if image.mode == "F":
        _check_range(image, 0, 1, "floating-point")
        return _grey(np.rint(np.asarray(image) * 255))
    if image.has_transparency_data:
        # Pillow converts the premultiplied grey mode to its plain twin only.
        colours = image.convert("LA") if image.mode == "La" else image
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, colours.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bits(values: npt.NDArray[np.integer], transparent: object) -> Image.Image:
    """Scale 0..65535 to 0..255; a PNG may name one value that stands for transparency."""
    grey = (values.astype(np.uint32) + 128) // 257
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return _grey(grey)


def _grey(values: npt.NDArray[np.number]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _check_range(image: Image.Image, low: int, high: int, kind: str) -> None:
    """Refuse numbers whose meaning as grey levels nobody wrote down."""
    values = np.asarray(image)
    # NaN makes both comparisons false.
    if not (values.min() >= low and values.max() <= high):
        raise ImageError(
            f"has {kind} values from {values.min():g} to {values.max():g}; convert it to 8 or 16 "
            f"bits, or to the range {low} to {high}"
        )


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
