"""Offsets of windows in the image, against the places of their patches."""

import itertools

import pytest
import torch

from mimprobe.models.geometry import Geometry, window_places
from mimprobe.models.offsets import (
    offset_canvas,
    offset_queries,
    offset_rings,
    uniform_sums,
    valid_pairs,
)

CPU = torch.device("cpu")
GEOMETRIES = [
    Geometry((4, 6), (16, 16), 1),
    Geometry((8, 8), (4, 4), window=(4, 4)),
    Geometry((8, 8), (4, 4), window=(4, 4), shift=(2, 2)),
    Geometry((9, 14), (4, 4), window=(4, 4), shift=(2, 2)),
    Geometry((9, 14), (4, 4), window=(4, 4), shift=(2, 2), pads_first=True),
    Geometry((7, 6), (8, 4), window=(7, 6)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_queries_are_counted_at_their_true_offsets(geometry):
    canvas, counts = offset_canvas(geometry, CPU), {}
    places = window_places(geometry).tolist()
    valid = iter(valid_pairs(geometry, CPU).flatten().tolist())
    for window in places:
        for query, key in itertools.product(window, window):
            if next(valid):
                offset = key[0] - query[0], key[1] - query[1]
                counts[offset] = counts.get(offset, 0) + 1
    found = offset_queries(geometry, CPU)[0, 0]
    at = found.nonzero() - torch.tensor(canvas.reach)
    assert {tuple(place) for place in at.tolist()} == set(counts)
    for (row, column), count in counts.items():
        assert found[row + canvas.reach[0], column + canvas.reach[1]] == count
    rows, columns = geometry.grid
    assert uniform_sums(geometry, CPU).sum().item() == pytest.approx(rows * columns, rel=1e-12)


def test_only_windows_padded_after_they_were_rolled_have_far_pairs():
    far = [len(offset_canvas(geometry, CPU).far[0]) > 0 for geometry in GEOMETRIES]
    assert far == [False, False, False, True, False, False]
    assert offset_canvas(GEOMETRIES[2], CPU).reach == (3, 3)
    assert offset_canvas(GEOMETRIES[3], CPU).reach == (8, 3)


def test_rings_have_the_width_of_a_patch():
    rings = offset_rings(GEOMETRIES[-1], CPU)
    assert rings.width == 4
    assert rings.number[6, 5] == 0
    assert rings.number[6, 6] == 1
    assert rings.number[7, 5] == 2
