"""Positions, distances and windows, against timm's own masks and against coordinates by hand."""

import math

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block

from mimprobe.measures.attention import attention_distance
from mimprobe.models.geometry import (
    Geometry,
    keys_of,
    patch_distances,
    uniform_distance,
    windows_of,
)

CPU = torch.device("cpu")


def uniform(queries: int, keys: int) -> torch.Tensor:
    return torch.full((1, 1, queries, keys), 1 / keys)


def test_distances_of_a_plain_grid_match_the_published_oracle():
    distances = patch_distances(Geometry((14, 14), (16, 16)), CPU)
    assert distances.max().item() == pytest.approx(294.15642, abs=1e-4)
    mean = attention_distance(uniform(196, 196), distances)
    assert mean.item() == pytest.approx(116.49223, abs=1e-4)


@pytest.mark.parametrize(
    ("geometry", "known"),
    [
        (Geometry((14, 14), (16, 16), prefix_tokens=2), 116.49223),
        (Geometry((14, 14), (4, 4), window=(7, 7)), 4 * 3.609465),
        (Geometry((1, 1), (32, 32)), 0.0),
    ],
)
def test_distance_of_uniform_attention(geometry, known):
    assert uniform_distance(geometry) == pytest.approx(known, abs=1e-4)


def test_distance_of_uniform_attention_with_padding_and_shift():
    """By the image's own coordinates: 5 x 3 patches, padded to 6 x 4, windows of 3 x 2."""
    geometry = Geometry((5, 3), (4, 8), window=(3, 2), shift=(1, 1))
    windows, means = {}, []
    for y in range(5):
        for x in range(3):
            place = ((y - 1) % 5, (x - 1) % 3)  # rolled before it is padded, as in timm
            cut = tuple(
                0 if at < full - side else 1 if at < full - 1 else 2
                for at, full, side in zip(place, (6, 4), (3, 2), strict=True)
            )
            windows.setdefault((place[0] // 3, place[1] // 2, cut), []).append((4 * y, 8 * x))
    for places in windows.values():
        means += [sum(math.dist(one, other) for other in places) / len(places) for one in places]
    assert uniform_distance(geometry) == pytest.approx(sum(means) / 15)


def test_distances_of_a_non_square_grid_and_patch():
    distances = patch_distances(Geometry((3, 5), (16, 8), prefix_tokens=2), CPU)
    assert distances.shape == (15, 15)
    # From row 0, column 0 to row 2, column 4.
    assert distances[0, 14].item() == pytest.approx(math.hypot(2 * 16, 4 * 8))
    assert torch.equal(distances, distances.T)


@pytest.mark.parametrize(("window", "patches"), [(6, 3.080), (7, 3.609), (12, 6.235), (14, 7.281)])
def test_uniform_attention_in_windows_matches_the_published_oracle(window, patches):
    geometry = Geometry((2 * window, 2 * window), (8, 8), window=(window, window))
    distances = patch_distances(geometry, CPU)
    assert distances.shape == (4 * window**2, window**2)
    mean = attention_distance(uniform(*distances.shape), distances)
    assert mean.item() / 8 == pytest.approx(patches, abs=6e-4)


def coordinates_by_hand(grid, window, shift, pads_first):
    """Follow every patch through roll, pad and partition, as Swin does in either library."""
    rows, columns = grid
    height, width = window
    numbers = torch.arange(rows * columns).view(1, rows, columns, 1)
    pad = (0, 0, 0, -columns % width, 0, -rows % height)
    turn = {"shifts": (-shift[0], -shift[1]), "dims": (1, 2)}
    if pads_first:
        padded = torch.roll(torch.nn.functional.pad(numbers, pad, value=-1), **turn)
    else:
        padded = torch.nn.functional.pad(torch.roll(numbers, **turn), pad, value=-1)
    padded = padded[0, :, :, 0]
    return [
        padded[top : top + height, left : left + width].flatten().tolist()
        for top in range(0, padded.shape[0], height)
        for left in range(0, padded.shape[1], width)
    ]


@pytest.mark.parametrize("pads_first", [False, True])
@pytest.mark.parametrize(
    ("grid", "window", "shift"),
    [
        ((14, 14), (7, 7), (3, 3)),
        ((12, 18), (6, 6), (3, 3)),
        ((10, 13), (7, 7), (3, 3)),
        ((10, 13), (7, 6), (3, 0)),
        ((7, 9), (7, 7), (0, 0)),
    ],
)
def test_window_distances_and_padding_against_coordinates_by_hand(grid, window, shift, pads_first):
    geometry = Geometry(grid, (4, 8), window=window, shift=shift, pads_first=pads_first)
    distances = patch_distances(geometry, CPU).view(geometry.windows, geometry.keys, -1)
    windows = windows_of(geometry, CPU)
    padding = windows.by_window(windows.padding)
    by_hand = coordinates_by_hand(grid, window, shift, pads_first)
    assert len(by_hand) == geometry.windows
    for number, patches in enumerate(by_hand):
        for i, one in enumerate(patches):
            for j, other in enumerate(patches):
                assert padding[number, i, j].item() == (other < 0)
                if one < 0 or other < 0:
                    continue
                down = one // grid[1] - other // grid[1]
                right = one % grid[1] - other % grid[1]
                expected = math.hypot(4 * down, 8 * right)
                assert distances[number, i, j].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("block_class", [SwinTransformerBlock, SwinTransformerV2Block])
@pytest.mark.parametrize("grid", [(14, 14), (10, 13), (8, 21)])
def test_masked_pairs_are_those_that_timm_masks(block_class, grid):
    block = block_class(8, grid, num_heads=1, window_size=7, shift_size=3)
    geometry = Geometry(grid, (4, 4), window=block.window_size, shift=block.shift_size)
    hidden = block.get_attn_mask().flatten(0, 1) != 0
    assert torch.equal(windows_of(geometry, CPU).masked, hidden)


@pytest.mark.parametrize("grid", [(14, 21), (10, 13), (8, 20)])
def test_where_padding_is_rolled_along_unmasked_pairs_are_neighbours_in_the_image(grid):
    geometry = Geometry(grid, (4, 4), window=(7, 7), shift=(3, 3), pads_first=True)
    windows = windows_of(geometry, CPU)
    real = ~(windows.masked | windows.padding) & windows.inside[:, None]
    seen = patch_distances(geometry, CPU)[real]
    assert seen.max().item() <= math.hypot(6 * 4, 6 * 4) + 1e-4


def test_where_nothing_is_padded_unmasked_pairs_are_neighbours_in_the_image():
    geometry = Geometry((14, 21), (4, 4), window=(7, 7), shift=(3, 3))
    windows = windows_of(geometry, CPU)
    seen = patch_distances(geometry, CPU)[~windows.masked]
    assert seen.max().item() <= math.hypot(6 * 4, 6 * 4) + 1e-4


def test_uniform_attention_in_a_shifted_block_matches_the_published_oracle():
    geometry = Geometry((14, 14), (4, 4), window=(7, 7), shift=(3, 3))
    allowed = (~windows_of(geometry, CPU).masked).sum(1)
    assert sorted(set(allowed.tolist())) == [9, 12, 16, 21, 28, 49]
    assert allowed.double().log().mean().item() == pytest.approx(3.2089, abs=5e-5)


def test_the_row_of_a_patch_and_its_keys():
    plain = keys_of(Geometry((3, 4), (8, 8), prefix_tokens=1), (1, 2))
    assert (plain.window, plain.row) == (0, 6)
    assert plain.places.tolist() == [[row, column] for row in range(3) for column in range(4)]
    assert plain.visible.all()
    # 4 x 4 patches rolled by one: the last window holds the corners, each hidden from the others.
    shifted = Geometry((4, 4), (4, 4), window=(2, 2), shift=(1, 1))
    corner = keys_of(shifted, (0, 0))
    assert (corner.window, corner.row) == (3, 3)
    assert corner.places.tolist() == [[3, 3], [3, 0], [0, 3], [0, 0]]
    assert corner.visible.tolist() == [False, False, False, True]
    inner = keys_of(shifted, (2, 1))
    assert inner.places.tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert inner.visible.all()


def test_padding_is_no_visible_key():
    keys = keys_of(Geometry((3, 3), (4, 4), window=(2, 2)), (2, 2))
    assert keys.visible.tolist() == [True, False, False, False]
