"""Scenes drawn by code: images that may be shipped, for the demo and the notebook.

What belongs here: pictures with the statistics that matter to attention, from a seed alone: a
horizon, smooth shading, texture at all scales, a few objects that cover each other. What does not:
any claim that they replace photographs; a result on them says so in its manifest.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Plane = npt.NDArray[np.float64]


def drawn_scenes(count: int, *, size: int = 128, seed: int = 0) -> list[tuple[Image.Image, str]]:
    """Draw `count` different scenes.

    Args:
        count: how many.
        size: side of the square pictures in pixels.
        seed: the same seed gives the same scenes, and more of them for a larger count.

    Returns:
        Pictures with their names, as `open_images` takes them.
    """
    return [
        (_scene(size, np.random.default_rng((seed, number))), f"scene-{number:04d}")
        for number in range(count)
    ]


def _scene(size: int, generator: np.random.Generator) -> Image.Image:
    """Paint sky and ground, then three to seven objects from far to near."""
    horizon = int(size * generator.uniform(0.3, 0.75))
    picture = Image.fromarray(_ground(size, horizon, generator))
    for depth in np.sort(generator.uniform(0, 1, generator.integers(3, 8))):
        _place(picture, horizon, float(depth), generator)
    return picture.filter(ImageFilter.GaussianBlur(float(generator.uniform(0.2, 0.8))))


def _ground(size: int, horizon: int, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Shade sky and ground from their colours, with clouds and soil as 1/f noise."""
    sky, zenith, soil, front = (_colour(generator) for _ in range(4))
    rows = np.arange(size)[:, None, None]
    up = np.clip(rows / max(horizon, 1), 0, 1)
    down = np.clip((rows - horizon) / max(size - horizon, 1), 0, 1)
    shade = np.where(rows < horizon, zenith + (sky - zenith) * up, soil + (front - soil) * down)
    above = _noise(size, 2.2, generator) * generator.uniform(5, 30)
    below = _noise(size, 1.2, generator) * generator.uniform(10, 35)
    texture = np.where(rows[..., 0] < horizon, above, below)[..., None]
    return _bytes(np.broadcast_to(shade, (size, size, 3)) + texture)


def _place(
    picture: Image.Image, horizon: int, depth: float, generator: np.random.Generator
) -> None:
    """Paint one textured object standing on the ground; near ones are larger and lower."""
    size = picture.width
    height = size * (0.08 + 0.35 * depth) * generator.uniform(0.7, 1.4)
    width = height * generator.uniform(0.4, 1.6)
    foot = horizon + (size - horizon) * depth * 0.8 + 2
    centre = generator.uniform(0, size)
    box = (centre - width / 2, foot - height, centre + width / 2, foot)
    mask = Image.new("L", picture.size)
    _outline(ImageDraw.Draw(mask), box, generator)
    light = np.linspace(generator.uniform(-45, -10), generator.uniform(10, 45), size)[None, :, None]
    texture = _noise(size, generator.uniform(0.4, 2), generator) * generator.uniform(3, 40)
    skin = np.broadcast_to(_colour(generator) + light, (size, size, 3)) + texture[..., None]
    picture.paste(Image.fromarray(_bytes(skin)), mask=mask)


def _outline(
    draw: ImageDraw.ImageDraw, box: tuple[float, ...], generator: np.random.Generator
) -> None:
    """Fill an ellipse, a rectangle, or a polygon with three to eight corners inside the box."""
    left, top, right, bottom = box
    shape = generator.integers(3)
    if shape == 0:
        draw.ellipse((left, top, right, bottom), fill=255)
    elif shape == 1:
        draw.rectangle((left, top, right, bottom), fill=255)
    else:
        corners = int(generator.integers(3, 9))
        angles = np.sort(generator.uniform(0, 2 * np.pi, corners))
        radius = generator.uniform(0.6, 1, corners)
        x = (left + right) / 2 + (right - left) / 2 * radius * np.cos(angles)
        y = (top + bottom) / 2 + (bottom - top) / 2 * radius * np.sin(angles)
        draw.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255)


def _noise(size: int, slope: float, generator: np.random.Generator) -> Plane:
    """Draw noise whose amplitude falls as 1/frequency^slope, with unit standard deviation."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1
    phases = np.fft.rfft2(generator.standard_normal((size, size)))
    plane: Plane = np.fft.irfft2(phases / frequency**slope, s=(size, size))
    return (plane - float(plane.mean())) / float(plane.std())


def _colour(generator: np.random.Generator) -> Plane:
    """Draw a muted colour: saturated ones are rare in photographs."""
    grey, tint = float(generator.uniform(50, 200)), generator.normal(0, 28, 3)
    return grey + tint


def _bytes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
