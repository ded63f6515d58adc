"""Every measure against a definition in loops, closed forms, and what must always hold."""

import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.measures import (
    attention_distance,
    attention_entropy,
    attention_entropy_normalised,
    head_kl,
    row_products,
)

MEASURES = {
    "distance": lambda a: attention_distance(a, random_distances(*a.shape[2:])),
    "entropy": attention_entropy,
    "entropy_normalised": attention_entropy_normalised,
    "head_kl": head_kl,
}

shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(2, 9))
seeds = st.integers(0, 2**32 - 1)
sharpness = st.sampled_from([0.0, 0.01, 1.0, 5.0, 40.0])


def random_attention(shape, *, seed=0, sharp=1.0, dtype=torch.float32):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * sharp
    return logits.double().softmax(-1).to(dtype)


def random_distances(queries, keys):
    return torch.rand(queries, keys, generator=torch.Generator().manual_seed(9)) * 300


def grid_distances(height, width, stride=1.0):
    y, x = np.divmod(np.arange(height * width), width)
    return torch.tensor(stride * np.hypot(y[:, None] - y, x[:, None] - x), dtype=torch.float32)


def log(p):
    return math.log(max(p, 2.0**-126))


def mean(values):
    return sum(values) / len(values) if values else math.nan


def slow_distance(rows, distances):
    pairs = zip(rows, distances, strict=True)
    return mean([sum(map(operator.mul, row, lengths)) for row, lengths in pairs if any(row)])


def slow_entropy(rows):
    return mean([-sum(a * log(a) for a in row) for row in rows if any(row)])


def slow_kl(rows, others):
    return mean(
        [
            sum(
                a / sum(row) * (log(a) - log(b) - math.log(sum(row) / sum(other)))
                for a, b in zip(row, other, strict=True)
            )
            for row, other in zip(rows, others, strict=True)
            if any(row) and any(other)
        ]
    )


def over_heads(function, attention):
    return torch.tensor([[function(head) for head in image] for image in attention.tolist()])


def leave_out(attention, fraction, seed):
    left_out = torch.rand(attention.shape[:3], generator=torch.Generator().manual_seed(seed))
    return attention.masked_fill((left_out < fraction).unsqueeze(-1), 0.0)


@given(
    shapes,
    seeds,
    sharpness,
    st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_measures_equal_their_definition(shape, seed, sharp, dtype, fraction):
    attention = random_attention(shape, seed=seed, sharp=sharp, dtype=dtype)
    attention = leave_out(attention, fraction, seed)
    distances = random_distances(*shape[2:])
    tight = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-6}
    close = {"atol": 2e-6, "check_dtype": True, "equal_nan": True} | tight

    def check(found, wanted):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, wanted.double(), **close)

    wide = attention.double()
    torch.set_default_dtype(torch.float64)
    try:
        table = distances.tolist()
        distance = over_heads(lambda rows: slow_distance(rows, table), wide)
        entropy = over_heads(slow_entropy, wide)
        kl = torch.tensor(
            [[[slow_kl(a, b) for b in image] for a in image] for image in wide.tolist()]
        )
    finally:
        torch.set_default_dtype(torch.float32)
    check(attention_distance(attention, distances), distance)
    check(attention_entropy(attention), entropy)
    check(attention_entropy_normalised(attention), entropy / math.log(shape[3]))
    check(head_kl(attention), kl)


@given(shapes, seeds, sharpness)
@settings(max_examples=40, deadline=None)
def test_measures_stay_within_their_bounds(shape, seed, sharp):
    attention = random_attention(shape, seed=seed, sharp=sharp)
    distances = random_distances(*shape[2:])
    distance = attention_distance(attention, distances)
    entropy = attention_entropy(attention)
    assert (distance >= 0).all()
    assert (distance <= distances.max(-1).values.mean() * (1 + 1e-6)).all()
    assert (entropy >= -1e-6).all()
    assert (entropy <= math.log(shape[3]) + 1e-6).all()
    assert (attention_entropy_normalised(attention) <= 1 + 1e-6).all()
    assert (head_kl(attention) >= -1e-6).all()
    assert (head_kl(attention) <= 126 * math.log(2) + 1e-4).all()
    assert (head_kl(attention).diagonal(dim1=1, dim2=2) == 0).all()


@given(shapes, seeds)
@settings(max_examples=40, deadline=None)
def test_order_of_heads_queries_and_keys_does_not_matter(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    attention = random_attention(shape, seed=seed)
    distances = random_distances(*shape[2:])
    heads, queries, keys = (torch.randperm(size, generator=generator) for size in shape[1:])
    moved = attention[:, heads][:, :, queries][..., keys]
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(
        attention_distance(moved, distances[queries][:, keys]),
        attention_distance(attention, distances)[:, heads],
        **close,
    )
    entropy = attention_entropy(attention)[:, heads]
    torch.testing.assert_close(attention_entropy(moved), entropy, **close)
    pairs = head_kl(attention)[:, heads][:, :, heads]
    torch.testing.assert_close(head_kl(moved), pairs, **close)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("shape", [(5, 3, 7, 49), (5, 12, 20, 197), (5, 2, 9, 13)])
def test_an_image_gets_the_same_bits_in_any_batch(name, shape):
    attention = random_attention(shape)
    whole = MEASURES[name](attention)
    for size in (1, 2, 4):
        parts = torch.cat([MEASURES[name](part.clone()) for part in attention.split(size)])
        assert torch.equal(parts, whole)
    backwards = MEASURES[name](attention.flip(0)).flip(0)
    assert torch.equal(backwards, whole)


@pytest.mark.parametrize("name", MEASURES)
def test_inputs_are_not_modified_and_no_gradient_flows(name):
    attention = random_attention((2, 3, 4, 5)).requires_grad_()
    before = attention.detach().clone()
    assert not MEASURES[name](attention).requires_grad
    assert torch.equal(attention, before)


def test_distance_on_a_14_x_14_grid():
    distances = grid_distances(14, 14, stride=16)
    uniform = torch.full((1, 1, 196, 196), 1 / 196)
    assert attention_distance(uniform, distances).item() == pytest.approx(116.49223, abs=1e-4)
    patches = attention_distance(uniform, grid_distances(14, 14)).item()
    assert patches == pytest.approx(7.280764, abs=1e-6)
    corner = torch.zeros(1, 1, 196, 196)
    corner[0, 0, 0, -1] = 1  # every other row is left out
    assert attention_distance(corner, distances).item() == pytest.approx(294.15642, abs=1e-4)


@pytest.mark.parametrize(("window", "patches"), [(6, 3.080), (7, 3.609), (12, 6.235), (14, 7.281)])
def test_uniform_distance_in_a_window(window, patches):
    keys = window * window
    uniform = torch.full((2, 3, keys, keys), 1 / keys)
    found = attention_distance(uniform, grid_distances(window, window))
    torch.testing.assert_close(
        found, torch.full((2, 3), patches, dtype=torch.float64), rtol=0, atol=5e-4
    )


def test_identity_attention_has_no_distance_and_no_entropy():
    identity = torch.eye(196).expand(2, 3, -1, -1)
    assert (attention_distance(identity, grid_distances(14, 14)) == 0).all()
    assert attention_entropy(identity).abs().max() < 1e-6


def test_uniform_attention_has_the_entropy_of_its_keys():
    uniform = torch.full((1, 2, 196, 196), 1 / 196)
    assert attention_entropy(uniform)[0].tolist() == pytest.approx([5.278115] * 2, abs=1e-6)
    assert attention_entropy_normalised(uniform)[0].tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize(("heads", "keys"), [(12, 196), (16, 256), (3, 49), (6, 196)])
def test_equal_heads_do_not_diverge(heads, keys):
    one = random_attention((2, 1, keys, keys), sharp=2.0)
    kl = head_kl(one.expand(-1, heads, -1, -1))
    assert kl.abs().max() < 1e-6
    assert (kl.diagonal(dim1=1, dim2=2) == 0).all()


@pytest.mark.parametrize("keys", [49, 196, 197, 577])
@pytest.mark.parametrize(("divergence", "relative"), [(1e-4, 1e-3), (1e-6, 5e-3)])
def test_divergence_of_nearly_uniform_heads_keeps_its_digits(divergence, relative, keys):
    attention = random_attention((1, 4, 64, keys), sharp=math.sqrt(divergence))
    log_a = attention.double().log()
    gap = log_a.unsqueeze(2) - log_a.unsqueeze(1)
    wanted = (attention.double().unsqueeze(2) * gap).sum(-1).mean(-1)
    assert wanted.max() == pytest.approx(divergence, rel=0.3)
    apart = ~torch.eye(4, dtype=torch.bool)
    close = {"rtol": relative, "atol": 0}
    torch.testing.assert_close(head_kl(attention)[0, apart], wanted[0, apart], **close)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_disjoint_heads_diverge_by_126_bits(dtype):
    attention = torch.zeros(1, 2, 4, 4, dtype=dtype)
    attention[0, 0, :, 0] = attention[0, 1, :, 3] = 1
    wanted = torch.tensor([[[0, 87.3365], [87.3365, 0]]], dtype=torch.float64)
    torch.testing.assert_close(head_kl(attention), wanted, rtol=0, atol=1e-4)


def test_probabilities_below_the_smallest_normal_count_as_that():
    tiny = torch.tensor([[1.0, 1e-44], [1e-44, 1.0]]).double()
    attention = torch.stack([tiny, tiny.flip(0)]).unsqueeze(0)
    assert head_kl(attention)[0, 0, 1].item() == pytest.approx(126 * math.log(2), abs=1e-9)
    assert head_kl(attention.float())[0, 0, 1].item() == pytest.approx(126 * math.log(2), abs=1e-4)


def test_normalised_entropy_divides_each_row_by_its_own_valid_keys():
    attention = torch.tensor([[0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25], [0, 0, 1, 0]])
    valid = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]], dtype=torch.bool)
    both = attention.expand(1, 2, -1, -1)
    torch.testing.assert_close(
        attention_entropy_normalised(both, valid),
        torch.ones(1, 2, dtype=torch.float64),
        rtol=0,
        atol=1e-6,
    )
    skewed = torch.tensor([[0.9, 0.1, 0, 0], [0.4, 0.3, 0.2, 0.1], [0, 0, 1, 0]])
    rows = [
        -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2),
        -sum(p * math.log(p) for p in (0.4, 0.3, 0.2, 0.1)) / math.log(4),
    ]
    found = attention_entropy_normalised(skewed.expand(1, 1, -1, -1), valid).item()
    assert found == pytest.approx(sum(rows) / 2, abs=1e-6)
    assert attention_entropy_normalised(both, valid & valid[2]).isnan().all()


def test_rows_left_out_do_not_count():
    attention = random_attention((1, 3, 6, 5))
    attention[0, 0, 1] = attention[0, 1, 4] = 0
    attention[0, 2] = 0
    kept = [[0, 2, 3, 4, 5], [0, 1, 2, 3, 5]]
    entropy = attention_entropy(attention)[0]
    for head, rows in enumerate(kept):
        wanted = attention_entropy(attention[:, [head]][:, :, rows])[0, 0]
        assert entropy[head].item() == pytest.approx(wanted.item(), abs=1e-12)
    both = attention[:, :2, [0, 2, 3, 5]]
    torch.testing.assert_close(head_kl(attention)[:, :2, :2], head_kl(both), rtol=0, atol=1e-12)
    assert entropy[2].isnan()
    assert attention_distance(attention, random_distances(6, 5))[0].isnan().tolist() == [0, 0, 1]
    assert head_kl(attention)[0].isnan().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_seen_in_its_own_image_and_head_only(bad):
    attention = random_attention((2, 3, 4, 5))
    attention[1, 2, 0, 0] = bad
    wanted = torch.zeros(2, 3, dtype=torch.bool)
    wanted[1, 2] = True
    assert torch.equal(~attention_entropy(attention).isfinite(), wanted)
    assert torch.equal(~MEASURES["distance"](attention).isfinite(), wanted)
    pairs = ~head_kl(attention).isfinite()
    assert not pairs[0].any()
    assert not pairs[1, :2, :2].any()
    assert pairs[1, 2].all()


def test_one_pass_serves_all_measures():
    attention = random_attention((2, 3, 4, 5))
    products = row_products(attention)
    assert torch.equal(products.entropy(), attention_entropy(attention))
    assert torch.equal(products.head_kl(), head_kl(attention))
    wide = attention.double()
    cross = torch.einsum("bhqk,bgqk->bqhg", wide, (5 * wide).log())
    torch.testing.assert_close(products.cross.double(), cross, rtol=1e-5, atol=1e-6)
