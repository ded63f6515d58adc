"""Running moments against all values at once, whatever the split and order."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.errors import OptionError
from mimprobe.stream import ImageValues, MapSums, Moments


def draw(images, columns, seed, scale=1.0, gone=0.2):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(images, columns)) * scale + generator.normal(size=columns) * 9
    values[generator.random((images, columns)) < gone] = np.nan
    return torch.from_numpy(values)


def fed(values, batches):
    moments = Moments()
    for batch in batches:
        moments.add(batch, values[list(batch)])
    return moments


def assert_close(found, wanted, rtol=1e-9):
    assert torch.equal(found.n, wanted.n)
    for name in ("mean", "std", "se"):
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=rtol, atol=1e-12, equal_nan=True
        )


@given(
    st.integers(1, 30),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_split_order_and_merging_gives_what_all_values_give(images, seed, scale, gone, data):
    values = draw(images, 4, seed, scale, gone)
    whole = ImageValues()
    whole.add(range(images), values)
    order = data.draw(st.permutations(range(images)))
    cuts = sorted(data.draw(st.sets(st.integers(0, images), max_size=6)) | {0, images})
    batches = [order[start:end] for start, end in itertools.pairwise(cuts)]
    assert_close(fed(values, batches).statistics(), whole.statistics())
    half = len(batches) // 2
    first, second = fed(values, batches[:half]), fed(values, batches[half:])
    second.merge(first)
    assert_close(second.statistics(), whole.statistics())


def test_by_hand():
    moments = fed(torch.tensor([[1.0, 5], [2.0, torch.nan], [6.0, torch.nan]]), [[0, 1], [2]])
    found = moments.statistics()
    assert found.n.tolist() == [3, 1]
    assert found.mean.tolist() == [3, 5]
    assert found.std[0].item() == pytest.approx(7**0.5, rel=1e-15)
    assert found.se[0].item() == pytest.approx((7 / 3) ** 0.5, rel=1e-15)
    assert found.std[1].isnan()


def test_a_large_constant_part_costs_no_digits():
    values = 1e9 + torch.arange(40.0, dtype=torch.float64).unsqueeze(1) / 8
    found = fed(values, [range(start, start + 5) for start in range(0, 40, 5)]).statistics()
    assert found.std.item() == pytest.approx(values.std().item(), rel=1e-9)
    same = fed(torch.full((9, 1), 0.1), [[0], [1, 2], range(3, 9)]).statistics()
    assert same.std.item() == 0


def test_a_state_goes_on_and_may_be_used_twice():
    values = draw(12, 3, 5)
    moments = fed(values, [[0, 4], [7, 2, 1]])
    state = moments.state()
    rest = [image for image in range(12) if image not in (0, 4, 7, 2, 1)]
    moments.add(rest, values[rest])
    for _ in range(2):
        other = fed(values, [[3]])
        other.restore(state)
        other.add(rest, values[rest])
        assert_close(other.statistics(), moments.statistics(), rtol=0)
    empty = Moments()
    empty.restore(Moments().state())
    with pytest.raises(OptionError, match="no values were added"):
        empty.statistics()


def test_what_does_not_fit_is_refused_and_leaves_all_as_it_was():
    values = draw(6, 3, 1)
    moments = fed(values, [[0, 1, 2]])
    before = moments.statistics()
    with pytest.raises(OptionError, match="image 2 was added twice"):
        moments.add([2, 3], values[2:4])
    with pytest.raises(OptionError, match="4 columns after batches with 3"):
        moments.add([3], torch.zeros(1, 4))
    with pytest.raises(OptionError, match="2 image indices for 1 rows"):
        moments.add([3, 4], torch.zeros(1, 3))
    with pytest.raises(OptionError, match="image 0 was added twice"):
        moments.merge(fed(values, [[4, 0]]))
    with pytest.raises(OptionError, match="1 columns after batches with 3"):
        moments.merge(fed(values[:, :1], [[4]]))
    moments.merge(Moments())
    assert_close(moments.statistics(), before, rtol=0)


def test_columns_are_summed_up_in_pieces(monkeypatch):
    values = draw(9, 7, 3)
    whole = fed(values, [range(5), range(5, 9)]).statistics()
    monkeypatch.setattr("mimprobe.stream.moments.COLUMNS_AT_ONCE", 3)
    assert_close(fed(values, [range(5), range(5, 9)]).statistics(), whole, rtol=1e-12)


def test_memory_does_not_grow_with_images():
    moments = fed(draw(64, 5, 2), [[image] for image in range(64)])
    n, mean, squares = moments.state()["moments"]
    assert n.shape == mean.shape == squares.shape == (5,)


def test_sums_of_maps_add_up_and_leave_what_was_given():
    one, two = torch.rand(2, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    given = one.clone()
    sums, other = MapSums(), MapSums()
    sums.add("a", one)
    sums.add("a", two)
    assert torch.equal(one, given)
    other.add("a", two)
    other.add("b", one)
    other.merge(sums)
    torch.testing.assert_close(other.get("a"), one + 2 * two)
    torch.testing.assert_close(sums.get("a"), one + two)
    assert sums.get("b") is None
    state = other.state()
    again = MapSums()
    again.restore(state)
    again.add("b", two)
    torch.testing.assert_close(again.get("b"), one + two)
    torch.testing.assert_close(other.get("b"), one)
