"""Masks: how many, where, and that nothing but the generator decides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimprobe.data.masks import random_mask
from mimprobe.errors import OptionError


def draw(grid=(12, 12), cell=2, ratio=0.6, seed=0):
    return random_mask(grid, cell=cell, ratio=ratio, generator=np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("side", "cell", "count"), [(6, 1, 22), (12, 2, 22), (7, 1, 30), (14, 2, 30)]
)
def test_counts_of_the_paper(side, cell, count):
    """22 of 36 at 192 px and 30 of 49 at 224 px, for a mask patch of 32 px."""
    assert draw((side, side), cell).sum() == count * cell**2


@given(
    rows=st.integers(1, 9), columns=st.integers(1, 9), cell=st.integers(1, 4),
    tenths=st.integers(0, 10), seed=st.integers(0, 99),
)  # fmt: skip
def test_whole_cells_and_the_ceiling_of_the_share(rows, columns, cell, tenths, seed):
    mask = draw((rows * cell, columns * cell), cell, tenths / 10, seed)
    coarse = mask.reshape(rows, cell, columns, cell)
    assert (coarse == coarse[:, :1, :, :1]).all()
    # In whole numbers, where no rounding can hide: ceil(cells * tenths / 10).
    assert coarse[:, 0, :, 0].sum() == -(-rows * columns * tenths // 10)


def test_every_cell_is_masked_equally_often():
    share = np.mean([draw((4, 4), 1, 0.5, seed) for seed in range(4000)], axis=0)
    assert np.abs(share - 0.5).max() < 5 * np.sqrt(0.25 / 4000)


def test_only_the_generator_decides():
    assert (draw(seed=3) == draw(seed=3)).all()
    assert (draw(seed=3) != draw(seed=4)).any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(OptionError, match="a 7 x 14 patch grid does not divide"):
        draw((7, 14), 2)
    with pytest.raises(OptionError, match="mask ratio 1.5 is outside 0 to 1"):
        draw(ratio=1.5)
