"""Masks: how many, where, and that nothing but the generator decides."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mimprobe.data.masks import MASKS, box_mask, image_mask
from mimprobe.errors import ImageError, NothingVisibleError, OptionError


def draw(grid=(12, 12), cell=2, ratio=0.6, seed=0, strategy="random"):
    return MASKS[strategy](grid, cell=cell, ratio=ratio, generator=np.random.default_rng(seed))


every_strategy = pytest.mark.parametrize("strategy", list(MASKS))


@pytest.mark.parametrize("strategy", ["random", "block"])
@pytest.mark.parametrize(
    ("side", "cell", "count"), [(6, 1, 22), (12, 2, 22), (7, 1, 30), (14, 2, 30)]
)
def test_counts_of_the_paper(strategy, side, cell, count):
    """22 of 36 at 192 px and 30 of 49 at 224 px, for a mask patch of 32 px."""
    for seed in range(20):
        assert draw((side, side), cell, seed=seed, strategy=strategy).sum() == count * cell**2


@given(
    strategy=st.sampled_from(list(MASKS)), rows=st.integers(1, 9), columns=st.integers(1, 9),
    cell=st.integers(1, 4), tenths=st.integers(1, 9), seed=st.integers(0, 99),
)  # fmt: skip
def test_whole_cells_and_the_ceiling_of_the_share(strategy, rows, columns, cell, tenths, seed):
    # In whole numbers, where no rounding can hide: ceil(cells * tenths / 10).
    count = -(-rows * columns * tenths // 10)
    try:
        mask = draw((rows * cell, columns * cell), cell, tenths / 10, seed, strategy)
    except NothingVisibleError:
        side = math.ceil(math.sqrt(count))
        fills = side >= min(rows, columns) and -(-count // min(rows, columns)) == max(rows, columns)
        hides_all = count == rows * columns
        assert hides_all or (strategy == "square" and (fills or side == rows == columns))
        return
    coarse = mask.reshape(rows, cell, columns, cell)
    assert (coarse == coarse[:, :1, :, :1]).all()
    masked = coarse[:, 0, :, 0]
    if strategy == "square":
        assert count <= masked.sum() < rows * columns
    else:
        assert masked.sum() == count


@pytest.mark.parametrize(
    ("grid", "ratio", "shape"),
    [
        ((6, 6), 0.6, (5, 5)),  # 22 of 36 need a side of 5
        ((7, 7), 0.6, (6, 6)),
        ((6, 6), 0.25, (3, 3)),  # exactly 9
        ((4, 20), 0.6, (4, 12)),  # 48 do not fit into a square
        ((20, 4), 0.6, (12, 4)),
        ((5, 9), 0.5, (5, 5)),
    ],
)
def test_a_square_is_the_smallest_that_reaches_the_ratio(grid, ratio, shape):
    corners = set()
    for seed in range(60):
        mask = draw(grid, 1, ratio, seed, "square")
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        assert (len(rows), len(columns)) == shape
        assert mask.sum() == shape[0] * shape[1], "not one rectangle"
        corners.add((rows[0], columns[0]))
    places = [grid[0] - shape[0] + 1, grid[1] - shape[1] + 1]
    assert len(corners) == places[0] * places[1], "not all places are used"


def test_blocks_are_coherent_and_of_many_shapes():
    """Neighbours of masked cells are masked more often than at random; shapes vary."""

    def alike(strategy):
        masks = [draw((14, 14), 1, 0.4, seed, strategy) for seed in range(40)]
        return np.mean([(m[:, 1:] & m[:, :-1]).sum() / m[:, 1:].sum() for m in masks])

    assert alike("block") > alike("random") + 0.3
    spans = {
        (draw((14, 14), 1, 0.1, seed, "block").any(1).sum(),
         draw((14, 14), 1, 0.1, seed, "block").any(0).sum())
        for seed in range(40)
    }  # fmt: skip
    assert len(spans) > 10
    assert any(tall > wide for tall, wide in spans)
    assert any(tall < wide for tall, wide in spans)


@pytest.mark.parametrize("grid", [(1, 200), (2, 60), (30, 3)])
def test_blocks_fill_narrow_grids(grid):
    for ratio in (0.1, 0.6, 0.95):
        mask = draw(grid, 1, ratio, strategy="block")
        assert mask.sum() == math.ceil(round(grid[0] * grid[1] * ratio, 9))


def test_every_cell_is_masked_equally_often():
    share = np.mean([draw((4, 4), 1, 0.5, seed) for seed in range(4000)], axis=0)
    assert np.abs(share - 0.5).max() < 5 * np.sqrt(0.25 / 4000)


@every_strategy
def test_only_the_generator_decides(strategy):
    first = draw(seed=3, strategy=strategy)
    np.random.seed(0)  # noqa: NPY002
    assert (first == draw(seed=3, strategy=strategy)).all()
    assert any((first != draw(seed=seed, strategy=strategy)).any() for seed in range(4, 9))


@every_strategy
def test_what_does_not_fit_is_refused(strategy):
    with pytest.raises(OptionError, match="a 7 x 14 patch grid does not divide"):
        draw((7, 14), 2, strategy=strategy)
    for ratio in (0.0, 1.0, 1.5, -0.1, float("nan")):
        with pytest.raises(OptionError, match=r"mask ratio \S+ is not between 0 and 1"):
            draw(ratio=ratio, strategy=strategy)
    with pytest.raises(NothingVisibleError, match="hides .*all .*choose a lower ratio"):
        draw((3, 3), 1, 0.9, strategy=strategy)


def test_a_box_masks_what_it_touches():
    mask = box_mask((4, 6), 8, (15, 0, 33, 9))
    expected = np.zeros((4, 6), bool)
    for x in range(15, 33):
        for y in range(9):
            expected[y // 8, x // 8] = True
    assert (mask == expected).all()
    assert box_mask((4, 6), 8, (8, 8, 16, 16)).sum() == 1


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ((1, 2, 3), "a box has four numbers, X0 Y0 X1 Y1, not 3"),
        ((8, 0, 8, 9), "box 8 0 8 9 does not lie in an input 48 px wide and 32 px high"),
        ((0, 0, 49, 9), "0 <= X0 < X1 <= 48 and 0 <= Y0 < Y1 <= 32"),
        ((-1, 0, 9, 9), "does not lie in"),
        ((0, 0, 48, 32), "the box hides all patches; leave something visible"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(box, told):
    with pytest.raises(OptionError) as caught:
        box_mask((4, 6), 8, box)
    assert told in str(caught.value)


def test_the_white_part_of_an_image_is_masked(tmp_path):
    pixels = np.zeros((32, 48), np.uint8)
    pixels[9, 17] = 255
    pixels[31, 0] = 127
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    mask = image_mask((4, 6), 8, tmp_path / "mask.png")
    assert np.argwhere(mask).tolist() == [[1, 2]]
    large = Image.fromarray(np.kron(pixels, np.full((3, 3), 1, np.uint8)))
    assert (image_mask((4, 6), 8, large) == mask).all(), "not stretched to the input"


def test_images_that_are_no_masks_are_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    with pytest.raises(OptionError, match=r"black\.png is black: nothing is masked"):
        image_mask((2, 2), 8, tmp_path / "black.png")
    with pytest.raises(NothingVisibleError, match="the mask image hides all patches"):
        image_mask((2, 2), 8, Image.new("L", (8, 8), 255))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png"):
        image_mask((2, 2), 8, tmp_path / "text.png")
