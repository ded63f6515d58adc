"""Numbers of a gradient: loops, closed forms, properties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimprobe.errors import UnknownNameError
from mimprobe.measures.receptive import contribution, side_error, square_shares, square_side


def test_contribution_by_loops():
    gradient = torch.randn(3, 3, 4, 5, dtype=torch.float64)
    for part, take in (("positive", lambda x: max(x, 0.0)), ("absolute", abs)):
        found = contribution(gradient, part)
        for image in range(3):
            entries = gradient[image].tolist()
            raw = [
                [sum(take(entries[d][r][c]) for d in range(3)) for c in range(5)] for r in range(4)
            ]
            np.testing.assert_allclose(found[image], np.array(raw) / np.sum(raw), rtol=1e-12)


def test_no_gradient_gives_nan_and_another_part_is_refused():
    assert contribution(torch.zeros(1, 3, 2, 2)).isnan().all()
    with pytest.raises(UnknownNameError, match="unknown part of the gradient 'negative'"):
        contribution(torch.zeros(1, 3, 2, 2), "negative")


@pytest.mark.parametrize("middle", [(2.0, 3.0), (2.5, 2.5), (0.5, 4.0)])
def test_shares_of_squares_by_loops(middle):
    shares = contribution(torch.rand(2, 3, 6, 7, dtype=torch.float64))
    curves, sides = square_shares(shares, middle)
    assert torch.all(sides.diff() > 0)
    for curve, image in zip(curves, shares, strict=True):
        for value, side in zip(curve.tolist(), sides.tolist(), strict=True):
            inside = sum(
                image[r, c].item() for r in range(6) for c in range(7)
                if max(abs(r - middle[0]), abs(c - middle[1])) + 0.5 <= side / 2 + 1e-12
            )  # fmt: skip
            assert value == pytest.approx(inside, abs=1e-12)
        assert curve[-1].item() == pytest.approx(1)


def test_sides_of_uniform_and_single_pixels():
    uniform = torch.full((1, 9, 9), 1 / 81, dtype=torch.float64)
    curves, sides = square_shares(uniform, (4.0, 4.0))
    assert sides.tolist() == [1, 3, 5, 7, 9]
    # 20 % of 81 pixels are 16.2, which 5 x 5 holds; 3 x 3 does not.
    wanted = {0.01: 1, 0.1: 3, 0.2: 5, 0.3: 5, 0.5: 7, 0.99: 9, 1.0: 9}
    assert {s: square_side(curves[0], sides, s).item() for s in wanted} == wanted
    even, even_sides = square_shares(torch.full((1, 4, 4), 1 / 16, dtype=torch.float64), (1.5, 1.5))
    assert even_sides.tolist() == [2, 4]
    assert square_side(even[0], even_sides, 0.25).item() == 2
    point = torch.zeros(1, 5, 5, dtype=torch.float64)
    point[0, 0, 4] = 1
    curves, sides = square_shares(point, (2.0, 2.0))
    assert square_side(curves[0], sides, 0.2).item() == 5


@given(st.integers(0, 2**31), st.floats(0.05, 1))
def test_the_square_is_the_smallest_that_holds_the_share(seed, share):
    draw = torch.Generator().manual_seed(seed)
    shares = contribution(torch.rand(1, 3, 5, 8, dtype=torch.float64, generator=draw))
    curves, sides = square_shares(shares, (2.5, 3.5))
    side = square_side(curves[0], sides, share)
    at = int((sides == side).nonzero())
    assert curves[0, at] >= share * (1 - 1e-8)
    assert at == 0 or curves[0, at - 1] < share


def test_the_error_is_that_of_a_bootstrap():
    draw = torch.Generator().manual_seed(0)
    widths = torch.randint(1, 20, (40,), generator=draw)
    sides = 2 * torch.arange(20, dtype=torch.float64) + 1
    curves = (torch.arange(20)[None] / widths[:, None]).clamp(max=1).double()
    found = side_error(curves, sides, 0.5, seed=3)
    again = np.random.default_rng(1)
    drawn = [
        square_side(curves[again.integers(0, 40, 40)].mean(0), sides, 0.5).item()
        for _ in range(2000)
    ]
    assert found == pytest.approx(np.std(drawn, ddof=1), rel=0.1)
    assert found == side_error(curves, sides, 0.5, seed=3)
    assert np.isnan(side_error(curves[:1], sides, 0.5))
    assert side_error(curves[:1].expand(5, -1), sides, 0.5) == 0
