"""Reconstructions as artists: which picture stands where."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mimprobe.errors import OptionError
from mimprobe.figures import reconstruction
from mimprobe.tables.painting import Reconstruction


def made(count):
    draw = np.random.default_rng(0)
    size = (count, 16, 24, 3)
    return Reconstruction(
        "net", "mim", "box 1 2 3 4", tuple(f"folder/{i}.png" for i in range(count)),
        draw.random(size, dtype=np.float32), draw.random((count, 2, 3)) < 0.5,
        draw.random(size, dtype=np.float32), np.arange(count) + 0.5,
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 5])
def test_four_pictures_of_each_image(count, figure):
    shown = made(count)
    panels = reconstruction(shown, figure=figure)
    assert len(panels) == 4 * count
    for i in range(count):
        pictures = (shown.pictures, shown.masked, shown.output, shown.pasted)
        for panel, expected in zip(panels[4 * i : 4 * i + 4], pictures, strict=True):
            (image,) = panel.images
            np.testing.assert_array_equal(image.get_array(), expected[i])
            assert image.get_interpolation() == "nearest"
        assert panels[4 * i].get_xlabel() == f"{i}.png"
        assert panels[4 * i + 2].get_xlabel() == f"error {i}.50"
    assert [p.get_title("left") for p in panels[:4]] == [
        "input", "masked input", "output", "completed input",
    ]  # fmt: skip
    (title,) = [text.get_text() for text in figure.texts]
    assert title == "net (masked image modeling): box 1 2 3 4"


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_pictures_keep_their_shape_and_do_not_overlap(count, figure):
    panels = reconstruction(made(count), figure=figure)
    width, height = figure.get_size_inches()
    boxes = [panel.get_position() for panel in panels]
    for box in boxes:
        assert box.height * height == pytest.approx(box.width * width * 16 / 24)
        assert 0 < box.x0 < box.x1 < 1
        assert 0 < box.y0 < box.y1 < 1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
    assert width <= 9.61


def test_into_axes_of_the_user():
    _, axes = plt.subplots(2, 4)
    assert reconstruction(made(2), axes=axes) == list(axes.flat)
    with pytest.raises(OptionError, match="has 8 panels, but 4 axes"):
        reconstruction(made(2), axes=axes[0])


def test_no_images_are_refused(figure):
    with pytest.raises(OptionError, match="no images"):
        reconstruction(made(2).only([]), figure=figure)
