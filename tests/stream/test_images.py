"""Per-image values: the same statistics, bit for bit, however the images came."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.errors import OptionError
from mimprobe.stream import ImageValues


def random_values(images, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, columns, generator=generator, dtype=torch.float64) * 1e3


def filled(values, images, sizes):
    stream, start = ImageValues(), 0
    for size in sizes:
        part = images[start : start + size]
        stream.add(part, values[part])
        start += size
    return stream


@st.composite
def splits(draw, images):
    order = draw(st.permutations(range(images)))
    sizes = []
    while sum(sizes) < images:
        sizes.append(draw(st.integers(1, images - sum(sizes))))
    return order, sizes


@given(splits(23), splits(23), st.integers(0, 23))
@settings(max_examples=50, deadline=None)
def test_statistics_do_not_depend_on_split_order_or_merging(first, second, cut):
    values = random_values(23, 3)
    values[4, 1] = values[7, 1] = math.nan
    one = filled(values, *first)
    other, rest = ImageValues(), ImageValues()
    for place, image in enumerate(second[0]):
        (other if place < cut else rest).add([image], values[[image]])
    rest.merge(other)
    assert torch.equal(one.by_image()[0], torch.arange(23))
    assert torch.equal(one.by_image()[1].nan_to_num(), values.nan_to_num())
    for name in ("mean", "std", "se", "n"):
        found, wanted = getattr(rest.statistics(), name), getattr(one.statistics(), name)
        assert torch.equal(found, wanted)


def test_statistics_equal_numpy_and_ignore_nan():
    values = random_values(50, 4)
    values[::3, 1] = math.nan
    values[1:, 2] = math.nan
    values[:, 3] = math.nan
    found = filled(values, list(range(50)), [20, 30]).statistics()
    assert found.n.tolist() == [50, 33, 1, 0]
    for column in (0, 1):
        kept = values[:, column].numpy()
        kept = kept[~np.isnan(kept)]
        std = kept.std(ddof=1)
        assert found.mean[column].item() == pytest.approx(kept.mean(), rel=1e-13)
        assert found.std[column].item() == pytest.approx(std, rel=1e-13)
        assert found.se[column].item() == pytest.approx(std / math.sqrt(len(kept)), rel=1e-13)
    assert found.mean[2] == values[0, 2]
    assert found.std[2:].isnan().all()
    assert found.se[2:].isnan().all()
    assert found.mean[3].isnan()


def test_infinity_is_a_value():
    stream = ImageValues()
    stream.add([0, 1], torch.tensor([[math.inf, -math.inf], [1.0, 2.0]]))
    assert stream.statistics().mean.tolist() == [math.inf, -math.inf]


def test_a_large_mean_does_not_eat_the_deviation():
    values = random_values(100, 1) * 1e-6 + 1e9
    found = filled(values, list(range(100)), [100]).statistics()
    assert found.std.item() == pytest.approx(values.std(0).item(), rel=1e-12)


def test_what_was_added_is_a_copy_and_merging_leaves_the_other_alone():
    values = random_values(4, 2)
    stream, other = ImageValues(), ImageValues()
    stream.add([1, 0], values[:2])
    other.add([3, 2], values[2:])
    wanted = values[[1, 0, 3, 2]]
    values.zero_()
    stream.merge(other)
    stream.merge(ImageValues())
    assert torch.equal(stream.by_image()[1], wanted)
    assert other.by_image()[0].tolist() == [2, 3]


def test_half_precision_values_are_widened():
    stream = ImageValues()
    stream.add([0], torch.tensor([[0.1]], dtype=torch.float16))
    assert stream.by_image()[1].dtype == torch.float64


def test_a_restored_state_goes_on_bit_for_bit():
    values = random_values(9, 2)
    stream = filled(values, [3, 1, 4, 8], [3, 1])
    stored = stream.state()
    other = filled(values, [0, 3], [2])
    other.restore(stored)
    stream.add([0, 2], values[[0, 2]])
    other.add([0, 2], values[[0, 2]])
    assert torch.equal(other.by_image()[0], stream.by_image()[0])
    assert torch.equal(other.by_image()[1], stream.by_image()[1])
    with pytest.raises(OptionError, match="image 8 was added twice"):
        other.add([8], values[[8]])
    other.restore(ImageValues().state())
    with pytest.raises(OptionError, match="no values were added"):
        other.statistics()


def test_an_image_counts_once():
    stream, other = ImageValues(), ImageValues()
    stream.add([0, 5], random_values(2, 1))
    other.add([5], random_values(1, 1))
    for attempt in (
        lambda: stream.add([7, 5], random_values(2, 1)),
        lambda: stream.merge(other),
        lambda: stream.merge(stream),
    ):
        with pytest.raises(OptionError, match=r"image [05] was added twice"):
            attempt()
    with pytest.raises(OptionError, match="image 9 was added twice"):
        stream.add([9, 9], random_values(2, 1))
    assert stream.by_image()[0].tolist() == [0, 5]  # a refused batch leaves nothing behind


def test_batches_that_do_not_fit_are_refused():
    stream = ImageValues()
    with pytest.raises(OptionError, match="no values were added"):
        stream.statistics()
    stream.add([0], random_values(1, 2))
    with pytest.raises(OptionError, match="3 columns after batches with 2"):
        stream.add([1], random_values(1, 3))
    with pytest.raises(OptionError, match="2 image indices for 1 rows"):
        stream.add([1, 2], random_values(1, 2))
