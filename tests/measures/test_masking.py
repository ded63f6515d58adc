"""AvgDist against its definition, closed forms and symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mimprobe.errors import NothingVisibleError, OptionError
from mimprobe.measures.masking import mask_distance


def definition(masked):
    """Loops over pixels, for one mask."""
    rows, columns = masked.shape
    places = [(y, x) for y in range(rows) for x in range(columns)]
    visible = [place for place in places if not masked[place]]
    nearest = [
        min(math.dist(place, other) for other in visible) for place in places if masked[place]
    ]
    return sum(nearest) / len(nearest)


some_masks = arrays(bool, (2, 5, 7)).filter(
    lambda m: m.any((1, 2)).all() and not m.all((1, 2)).any()
)


@given(some_masks, st.tuples(st.integers(1, 2), st.integers(1, 3)))
def test_against_the_definition(masks, stride):
    expected = [definition(np.kron(one, np.ones(stride, bool)).astype(bool)) for one in masks]
    np.testing.assert_allclose(mask_distance(masks, stride=stride), expected, rtol=1e-12)


@given(some_masks)
def test_symmetries_and_bounds(masks):
    found = mask_distance(masks)
    np.testing.assert_allclose(mask_distance(masks[::-1]), found[::-1])
    np.testing.assert_allclose(mask_distance(masks[:, ::-1, ::-1]), found)
    np.testing.assert_allclose(mask_distance(masks.swapaxes(1, 2)), found)
    assert (found >= 1).all()
    assert (found <= math.hypot(5, 7)).all()


def test_closed_forms():
    """Half an image is hidden: pixels at distances 1 to n. One hidden pixel: 1."""
    half = np.zeros((1, 4, 20), bool)
    half[:, :, 10:] = True
    assert mask_distance(half)[0] == pytest.approx((10 + 1) / 2)
    assert mask_distance(half, stride=3)[0] == pytest.approx((30 + 1) / 2)
    lonely = np.zeros((1, 4, 4), bool)
    lonely[0, 1, 1] = True
    assert mask_distance(lonely)[0] == 1


def test_undefined_where_nothing_is_visible_or_nothing_hidden():
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 0, 0] = True
    with pytest.raises(OptionError, match="hides nothing"):
        mask_distance(masks)
    masks[1] = True
    with pytest.raises(NothingVisibleError, match="not defined for a mask that hides everything"):
        mask_distance(masks)
