"""Folding maps into offsets and rings: closed forms, and what must always hold."""

import brute_force
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.measures import (
    OffsetCanvas,
    attention_distance,
    offset_means,
    offset_sums,
    ring_shares,
    rings_of,
)

NONE = torch.zeros(3, 0, dtype=torch.long)
grids = st.tuples(st.integers(1, 5), st.integers(1, 5))
seeds = st.integers(0, 2**32 - 1)


def canvas_of(grid):
    return OffsetCanvas(grid, (grid[0] - 1, grid[1] - 1), NONE)


def random_attention(shape, seed=0, dtype=torch.float32):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2
    return logits.double().softmax(-1).to(dtype)


def as_rows(head, grid):
    places = [divmod(number, grid[1]) for number in range(grid[0] * grid[1])]
    return {
        places[query]: dict(zip(places, row, strict=True))
        for query, row in enumerate(head.tolist())
        if any(row)
    }


@given(grids, st.integers(1, 3), st.integers(1, 3), seeds, st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=50, deadline=None)
def test_offsets_and_rings_equal_their_definition(grid, images, heads, seed, fraction):
    size = grid[0] * grid[1]
    attention = random_attention((images, heads, size, size), seed)
    gone = torch.rand(attention.shape[:3], generator=torch.Generator().manual_seed(seed))
    attention[gone < fraction] = 0
    stride = (4, 7)
    site = brute_force.Site(grid, stride)
    sums = offset_sums(attention, canvas_of(grid))
    assert sums.dtype == torch.float64
    kept = (attention.sum(-1) != 0).unsqueeze(-1).expand_as(attention).double()
    means = offset_means(sums, offset_sums(kept, canvas_of(grid)))
    shares = ring_shares(sums, rings_of((grid[0] - 1, grid[1] - 1), stride))
    for image in range(images):
        for head in range(heads):
            rows = as_rows(attention[image, head].double(), grid)
            wanted = np.full(means.shape[2:], np.nan)
            for (row, column), value in brute_force.attention_offset(rows).items():
                wanted[row + grid[0] - 1, column + grid[1] - 1] = value
            np.testing.assert_allclose(means[image, head], wanted, rtol=1e-9, atol=1e-12)
            profile = brute_force.attention_profile(rows, site)
            if rows:
                filled = [profile.get(ring, 0.0) for ring in range(shares.shape[-1])]
                np.testing.assert_allclose(shares[image, head], filled, rtol=1e-9, atol=1e-12)
            else:
                assert shares[image, head].isnan().all()


@given(grids, seeds)
@settings(max_examples=40, deadline=None)
def test_sums_keep_the_mass_and_the_mean_distance(grid, seed):
    size = grid[0] * grid[1]
    attention = random_attention((2, 2, size, size), seed)
    sums = offset_sums(attention, canvas_of(grid))
    torch.testing.assert_close(
        sums.sum((-2, -1)), attention.sum((-2, -1), dtype=torch.float64), rtol=1e-9, atol=0
    )
    axes = [torch.arange(1 - side, side, dtype=torch.float64) * 16 for side in grid]
    away = torch.hypot(axes[0][:, None], axes[1])
    y, x = np.divmod(np.arange(size), grid[1])
    distances = torch.tensor(16 * np.hypot(y[:, None] - y, x[:, None] - x), dtype=torch.float32)
    torch.testing.assert_close(
        (sums * away).sum((-2, -1)) / size, attention_distance(attention, distances),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


@given(grids, seeds)
@settings(max_examples=30, deadline=None)
def test_turning_the_image_turns_the_canvas(grid, seed):
    size = grid[0] * grid[1]
    attention = random_attention((1, 2, size, size), seed)
    turned = attention.flip(2, 3)
    sums = offset_sums(attention, canvas_of(grid))
    torch.testing.assert_close(offset_sums(turned, canvas_of(grid)), sums.flip(2, 3))


def test_uniform_attention_is_flat_and_identity_is_a_point():
    grid = (14, 14)
    uniform = torch.full((1, 1, 196, 196), 1 / 196)
    ones = torch.ones(1, 1, 196, 196)
    queries = offset_sums(ones, canvas_of(grid))
    assert queries[0, 0, 13, 13] == 196
    assert queries[0, 0, 0, 0] == 1
    assert queries[0, 0, 10, 13] == 11 * 14
    flat = offset_means(offset_sums(uniform, canvas_of(grid)), queries)
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / 196), rtol=1e-7, atol=0)
    point = offset_means(offset_sums(torch.eye(196)[None, None], canvas_of(grid)), queries)
    assert point[0, 0, 13, 13] == 1
    assert point.sum() == 1


def test_a_head_that_looks_one_patch_to_the_right():
    grid = (3, 4)
    attention = torch.zeros(1, 1, 12, 12)
    for query in range(12):
        attention[0, 0, query, query + 1 if query % 4 < 3 else query] = 1
    sums = offset_sums(attention, canvas_of(grid))[0, 0]
    assert sums[2, 4] == 9  # right of the middle
    assert sums[2, 3] == 3
    assert sums.sum() == 12
    shares = ring_shares(sums, rings_of((2, 3), (16, 16)))
    assert shares.tolist() == [0.25, 0.75, 0, 0, 0]


def test_rings_are_as_wide_as_the_shorter_side_of_a_patch():
    rings = rings_of((1, 2), (8, 4))
    assert rings.width == 4
    assert rings.number.tolist() == [[3, 2, 2, 2, 3], [2, 1, 0, 1, 2], [3, 2, 2, 2, 3]]
    assert rings.count == 4


def test_far_pairs_are_moved_to_where_they_belong():
    """Two patches beside each other in a window that lie three columns apart in the image."""
    attention = torch.tensor([[0.25, 0.75], [0.5, 0.5]])[None, None]
    far = torch.tensor([[1, 2], [4, 2], [6, 0]])  # pairs (0, 1), (1, 0) on a canvas of 1 x 7
    sums = offset_sums(attention, OffsetCanvas((1, 2), (0, 3), far))
    assert sums.flatten().tolist() == [0.5, 0, 0, 0.75, 0, 0, 0.75]


@pytest.mark.parametrize("size", [1, 2])
def test_an_image_gets_the_same_bits_in_any_batch(size):
    attention = random_attention((5, 3, 49, 49))
    whole = offset_sums(attention, canvas_of((7, 7)))
    parts = [offset_sums(part.clone(), canvas_of((7, 7))) for part in attention.split(size)]
    assert torch.equal(torch.cat(parts), whole)
