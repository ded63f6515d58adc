"""Distance of heads and dependence on the query: loops, closed forms, and what always holds."""

import math

import brute_force
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.measures import attention_nmi, map_distance, mean_map_distance

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
seeds = st.integers(0, 2**32 - 1)
sharpness = st.sampled_from([0.0, 0.01, 1.0, 5.0, 40.0])


def random_attention(shape, *, seed=0, sharp=1.0, dtype=torch.float32):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * sharp
    return logits.double().softmax(-1).to(dtype)


def leave_out(attention, fraction, seed):
    left_out = torch.rand(attention.shape[:3], generator=torch.Generator().manual_seed(seed))
    return attention.masked_fill((left_out < fraction).unsqueeze(-1), 0.0)


def as_rows(head, windows=1):
    """Rows of the oracle; every window has keys of its own."""
    places = len(head) // windows
    return {
        query: {(query // places, key): value for key, value in enumerate(row)}
        for query, row in enumerate(head.tolist())
        if any(row)
    }


@given(shapes, seeds, sharpness, st.sampled_from([0.0, 0.4, 1.0]))
@settings(max_examples=60, deadline=None)
def test_both_equal_their_definition(shape, seed, sharp, fraction):
    images, heads, windows, keys = shape
    made = random_attention((images, heads, windows * keys, keys), seed=seed, sharp=sharp)
    attention = leave_out(made, fraction, seed)
    close = {"rtol": 1e-5, "atol": 1e-6, "equal_nan": True}
    rows = [[as_rows(head, windows) for head in image] for image in attention.double()]
    wanted = [[[brute_force.head_distance(a, b) for b in image] for a in image] for image in rows]
    found = map_distance(attention)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), **close)
    nmi = [[brute_force.attention_nmi(head) for head in image] for image in rows]
    wanted = torch.tensor(nmi, dtype=torch.float64)
    wide = attention_nmi(attention.double(), windows)
    torch.testing.assert_close(wide, wanted, rtol=1e-6, atol=1e-7, equal_nan=True)
    if sharp < 40:  # else H(k) may be nearly 0, whose root divides the rounding of I
        narrow = attention_nmi(attention, windows)
        torch.testing.assert_close(narrow, wanted, rtol=1e-4, atol=5e-4, equal_nan=True)


@given(shapes, seeds, sharpness)
@settings(max_examples=40, deadline=None)
def test_both_stay_within_their_bounds(shape, seed, sharp):
    images, heads, windows, keys = shape
    attention = random_attention((images, heads, windows * keys, keys), seed=seed, sharp=sharp)
    distance = map_distance(attention)
    assert (distance >= -1e-6).all()
    assert (distance <= 1).all()
    assert torch.equal(distance, distance.mT)
    assert (distance.diagonal(dim1=1, dim2=2) == 0).all()
    nmi = attention_nmi(attention.double(), windows)
    if windows * keys > 1:
        assert (nmi >= -1e-6).all()
        assert (nmi <= 1 + 1e-6).all()
    else:
        assert nmi.isnan().all()


@given(seeds, st.permutations(range(6)))
@settings(max_examples=30, deadline=None)
def test_renumbering_positions_changes_nothing(seed, order):
    attention = random_attention((2, 3, 6, 6), seed=seed)
    moved = attention[:, :, order][..., order]
    torch.testing.assert_close(map_distance(moved), map_distance(attention), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(attention_nmi(moved), attention_nmi(attention), rtol=1e-5, atol=1e-7)


def test_distances_by_hand():
    identity, shifted = torch.eye(9), torch.eye(9).roll(1, 0)
    uniform = torch.full((9, 9), 1 / 9)
    found = map_distance(torch.stack([identity, shifted, uniform, identity]).unsqueeze(0))[0]
    assert found[0].tolist() == pytest.approx([0, 1, 1 - 1 / 3, 0], abs=1e-6)


def test_information_of_closed_forms():
    identity = torch.eye(49).expand(1, 2, -1, -1)
    assert attention_nmi(identity)[0].tolist() == pytest.approx([1, 1], abs=1e-6)
    alike = random_attention((1, 3, 1, 49), sharp=3.0).expand(-1, -1, 49, -1)
    assert attention_nmi(alike).abs().max() < 1e-6
    one_key = torch.zeros(1, 1, 9, 9)
    one_key[..., 4] = 1
    assert attention_nmi(one_key).item() == 0
    assert attention_nmi(torch.ones(1, 1, 1, 1)).isnan().all()
    halves = torch.zeros(1, 1, 8, 8)
    halves[..., :4, :4] = halves[..., 4:, 4:] = 1 / 4
    assert attention_nmi(halves).item() == pytest.approx(math.log(2) / math.log(8), abs=1e-6)
    windows = torch.full((1, 1, 8, 4), 1 / 4)  # the same map, cut into two windows
    assert attention_nmi(windows, 2).item() == pytest.approx(math.log(2) / math.log(8), abs=1e-6)


@pytest.mark.parametrize("keys", [49, 196])
def test_nearly_uniform_attention_keeps_its_digits(keys):
    attention = random_attention((1, 2, keys, keys), sharp=1e-2)
    wanted = attention_nmi(attention.double())
    assert 1e-6 < wanted.max() < 1e-4
    torch.testing.assert_close(attention_nmi(attention), wanted, rtol=2e-3, atol=0)


def test_rows_left_out_in_one_head_are_left_out_in_both():
    attention = random_attention((1, 3, 6, 5))
    attention[0, 0, 1] = attention[0, 1, 4] = 0
    attention[0, 2] = 0
    found = map_distance(attention)[0]
    both = map_distance(attention[:, :2, [0, 2, 3, 5]])[0]
    torch.testing.assert_close(found[:2, :2], both, rtol=1e-6, atol=1e-7)
    assert found[2].isnan().all()


def test_average_maps_leave_out_what_an_image_left_out():
    attention = random_attention((4, 3, 6, 6), dtype=torch.float64)
    attention[1, 0, 2] = attention[3, 2, :] = 0
    rows = [
        brute_force.mean_rows([as_rows(image[head]) for image in attention]) for head in range(3)
    ]
    wanted = torch.tensor([[brute_force.head_distance(a, b) for b in rows] for a in rows])
    found = mean_map_distance(attention.sum(0))
    torch.testing.assert_close(found, wanted.double(), rtol=1e-6, atol=1e-7)


def test_noise_that_differs_by_image_leaves_the_average_map():
    """Heads that look at random places are far apart in an image, and alike on average."""
    attention = random_attention((400, 2, 9, 9), sharp=4.0, dtype=torch.float64)
    assert map_distance(attention).mean(0)[0, 1] > 0.5
    assert mean_map_distance(attention.sum(0))[0, 1] < 0.02


@pytest.mark.parametrize("measure", [map_distance, attention_nmi])
def test_an_image_gets_the_same_in_any_batch(measure):
    attention = random_attention((5, 3, 49, 49))
    whole = measure(attention)
    for size in (1, 2, 4):
        parts = [measure(part.clone()) for part in attention.split(size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=4e-16)
    assert torch.equal(measure(attention.flip(0)).flip(0), whole)
