"""Prefix policies and windows, against explicit loops over tokens and image coordinates."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.measures import (
    Windows,
    attention_entropy,
    attention_entropy_normalised,
    check_policy,
    head_kl,
    patch_rows,
)
from mimprobe.measures.patches import METRIC_POLICIES, POLICIES


def random_attention(shape, *, seed=0, sharp=1.0, dtype=torch.float32):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * sharp
    return logits.double().softmax(-1).to(dtype)


def windows_of(height, width, window, shift=(0, 0)):
    """Windows of a map, token by token: real positions, padding at the far edges, regions cut.

    After a roll by `shift`, positions of one window that were no neighbours may not see each other.
    """
    tall, wide = window
    rows, columns = -(-height // tall) * tall, -(-width // wide) * wide
    padding, masked = [], []
    for top in range(0, rows, tall):
        for left in range(0, columns, wide):
            places = [(top + i, left + j) for i in range(tall) for j in range(wide)]
            origin = [((y + shift[0]) % rows, (x + shift[1]) % columns) for y, x in places]
            outside = [y >= height or x >= width for y, x in origin]
            # Wrapped round: rolled positions beyond the far edge come from the near one.
            region = [(y + shift[0] >= rows, x + shift[1] >= columns) for y, x in places]
            for here in region:
                padding.append(outside)
                masked.append([here != there for there in region])
    return Windows(torch.tensor(padding), torch.tensor(masked))


def masked_attention(images, heads, windows, *, leak=0.0, seed=0, uniform=False):
    """Attention within windows that gives `leak` of its weight to masked keys."""
    count, places = windows.count, windows.padding.shape[1]
    weights = random_attention((images * count, heads, places, places), seed=seed)
    weights = torch.ones_like(weights) if uniform else weights
    hidden = windows.by_window(windows.masked).repeat(images, 1, 1).unsqueeze(1)
    weights = torch.where(hidden, weights * leak, weights)
    return weights / weights.sum(-1, keepdim=True)


def slow_token_rows(attention, prefix_tokens, policy):
    """Rows of one image and head, by the definition; the mean prefix mass; rows left out."""
    rows, masses, dropped = [], [], 0
    for row in attention.tolist()[prefix_tokens:]:
        masses.append(sum(row[:prefix_tokens]))
        patches = row[prefix_tokens:]
        left = sum(patches)
        if left < 1e-6:
            patches, dropped = [0.0] * len(patches), dropped + 1
        elif policy == "renormalise":
            patches = [value / left for value in patches]
        rows.append(patches)
    return torch.tensor(rows, dtype=torch.float64), sum(masses) / len(masses), dropped


@given(
    st.integers(0, 5),
    st.integers(2, 6),
    st.integers(0, 2**31),
    st.sampled_from(["renormalise", "drop"]),
    st.sampled_from([torch.float64, torch.float32, torch.float16]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_patch_rows_equal_their_definition(prefix_tokens, patches, seed, policy, dtype, hide):
    tokens = prefix_tokens + patches
    attention = random_attention((2, 3, tokens, tokens), seed=seed, dtype=dtype)
    if hide and prefix_tokens:
        attention[1, 2, -1] = 0
        attention[1, 2, -1, 0] = 1
    rows = patch_rows(attention, prefix_tokens, prefix=policy)
    assert rows.attention.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert rows.attention.is_contiguous()
    assert rows.finite.all()
    assert rows.valid_keys is None
    for image in range(2):
        for head in range(3):
            found = rows.attention[image, head].double()
            wanted, mass, dropped = slow_token_rows(attention[image, head], prefix_tokens, policy)
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
            assert rows.dropped_rows[image, head] == dropped
            if prefix_tokens:
                assert rows.prefix_mass[image, head].item() == pytest.approx(mass, rel=1e-6)
    assert prefix_tokens or rows.prefix_mass is None
    assert rows.padding_mass is None
    assert rows.masked_mass is None


def test_keep_leaves_all_tokens_and_still_tells_the_prefix_mass():
    attention = random_attention((2, 3, 7, 7))
    rows = patch_rows(attention, 2, prefix="keep")
    assert torch.equal(rows.attention, attention)
    assert torch.equal(rows.prefix_mass, patch_rows(attention, 2).prefix_mass)
    assert (rows.dropped_rows == 0).all()


def test_a_head_that_looks_at_the_prefix_only_vanishes_and_is_counted():
    attention = random_attention((1, 2, 5, 5))
    attention[0, 1] = 0
    attention[0, 1, :, 0] = 1
    rows = patch_rows(attention, 1)
    assert rows.dropped_rows.tolist() == [[0, 4]]
    assert rows.prefix_mass[0, 1] == 1
    assert attention_entropy(rows.attention)[0].isnan().tolist() == [False, True]


def test_the_least_mass_is_one_millionth():
    attention = torch.tensor([[1, 0, 0], [1 - 2e-6, 1e-6, 1e-6], [1 - 8e-7, 4e-7, 4e-7]])
    rows = patch_rows(attention.double().expand(1, 1, -1, -1), 1)
    assert rows.dropped_rows.item() == 1
    assert rows.attention[0, 0].tolist() == [[0.5, 0.5], [0, 0]]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shifted", [False, True])
def test_inputs_are_not_modified(policy, shifted):
    windows = windows_of(7, 6, (4, 3), (2, 1) if shifted else (0, 0))
    attention = masked_attention(2, 3, windows, leak=0.01)
    before = attention.clone()
    patch_rows(attention, windows=windows, prefix=policy).attention.add_(1)
    assert torch.equal(attention, before)
    patch_rows(attention, 1, prefix=policy)
    assert torch.equal(attention, before)


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [
        ((8, 8), (4, 4), (0, 0)),
        ((8, 8), (4, 4), (2, 2)),
        ((7, 6), (4, 4), (0, 0)),
        ((7, 6), (4, 4), (2, 2)),
        ((9, 5), (3, 4), (1, 2)),
    ],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_windows_equal_a_loop_over_tokens(size, window, shift, policy):
    windows = windows_of(*size, window, shift)
    places = window[0] * window[1]
    attention = masked_attention(2, 2, windows, leak=0.02)
    rows = patch_rows(attention, windows=windows, prefix=policy)
    assert rows.attention.shape == (2, 2, windows.count * places, places)
    assert rows.attention.is_contiguous()
    for image in range(2):
        for head in range(2):
            padding, masked, real = [], [], 0
            for window_index in range(windows.count):
                source = attention[image * windows.count + window_index, head].tolist()
                for place, row in enumerate(source):
                    query = window_index * places + place
                    outside = windows.padding[query].tolist()
                    hidden = windows.masked[query].tolist()
                    inside = not outside[place]
                    shown = [
                        not hide and (policy == "keep" or (inside and not out))
                        for hide, out in zip(hidden, outside, strict=True)
                    ]
                    left = [value * show for value, show in zip(row, shown, strict=True)]
                    total = 1 if policy == "drop" else sum(left) or 1
                    wanted = torch.tensor([value / total for value in left])
                    found = rows.attention[image, head, query]
                    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
                    assert rows.valid_keys[query].tolist() == shown
                    if inside:
                        real += 1
                        padding.append(sum(itertools.compress(row, outside)))
                        masked.append(sum(itertools.compress(row, hidden)))
            assert real == size[0] * size[1]
            check_mass(rows.padding_mass, image, head, sum(padding) / real)
            check_mass(rows.masked_mass, image, head, max(masked))
    assert (rows.dropped_rows == 0).all()
    assert rows.prefix_mass is None


def check_mass(found, image, head, wanted):
    if found is None:
        assert wanted == 0
    else:
        assert wanted > 0
        assert found[image, head].item() == pytest.approx(wanted, rel=1e-5)


def test_masses_are_absent_where_there_is_nothing_to_have_them():
    plain = windows_of(8, 8, (4, 4))
    rows = patch_rows(masked_attention(1, 1, plain), windows=plain)
    assert rows.padding_mass is None
    assert rows.masked_mass is None


def test_real_queries_whose_row_holds_only_padding_are_counted():
    windows = windows_of(3, 4, (4, 4))  # the last row of 4 is padding
    attention = torch.zeros(1, 1, 16, 16)
    attention[..., 0] = 1
    attention[0, 0, 5, 0] = 0
    attention[0, 0, 5, 15] = 1
    rows = patch_rows(attention, windows=windows)
    assert rows.dropped_rows.item() == 1
    assert rows.padding_mass.item() == pytest.approx(1 / 12)


def test_uniform_attention_in_a_shifted_block_of_2_x_2_windows_of_7():
    windows = windows_of(14, 14, (7, 7), (3, 3))
    counts = sorted({int(count) for count in (~windows.masked).sum(-1)})
    assert counts == [9, 12, 16, 21, 28, 49]
    rows = patch_rows(masked_attention(2, 3, windows, uniform=True), windows=windows)
    entropy = attention_entropy(rows.attention)
    assert entropy.flatten().tolist() == pytest.approx([3.2089] * 6, abs=5e-5)
    normalised = attention_entropy_normalised(rows.attention, rows.valid_keys)
    assert normalised.flatten().tolist() == pytest.approx([1] * 6, abs=1e-6)
    assert (rows.masked_mass == 0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_reported_for_its_image_and_head(bad):
    wanted = torch.ones(2, 3, dtype=torch.bool)
    wanted[1, 2] = False
    for policy in POLICIES:
        attention = random_attention((2, 3, 5, 5))
        attention[1, 2, 3, 4] = bad
        rows = patch_rows(attention, 1, prefix=policy)
        assert torch.equal(rows.finite, wanted)
        assert torch.equal(attention_entropy(rows.attention).isfinite(), wanted)
        attention[1, 2, 3] = attention[1, 2, 2]
        attention[1, 2, 3, 0] = bad
        assert torch.equal(patch_rows(attention, 1, prefix=policy).finite, wanted)
        windows = windows_of(8, 8, (4, 4), (2, 2))
        attention = masked_attention(2, 3, windows)
        attention[4, 2, 0, 0] = bad
        assert torch.equal(patch_rows(attention, windows=windows, prefix=policy).finite, wanted)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_image_gets_the_same_bits_in_any_batch(size):
    windows = windows_of(7, 6, (4, 3), (2, 1))
    attention = masked_attention(5, 3, windows, leak=0.01)
    whole = patch_rows(attention, windows=windows).attention
    parts = attention.split(size * windows.count)
    rows = [patch_rows(part.clone(), windows=windows).attention for part in parts]
    assert torch.equal(torch.cat(rows), whole)
    attention = random_attention((5, 3, 8, 8))
    parts = [patch_rows(part.clone(), 1).attention for part in attention.split(size)]
    assert torch.equal(torch.cat(parts), patch_rows(attention, 1).attention)


def test_nearly_uniform_heads_keep_their_divergence_through_renormalising():
    attention = random_attention((1, 3, 197, 197), sharp=1e-2)
    wanted = head_kl(patch_rows(attention.double(), 1).attention)
    found = head_kl(patch_rows(attention, 1).attention)
    apart = ~torch.eye(3, dtype=torch.bool)
    assert np.all(wanted[0, apart].numpy() > 5e-5)
    torch.testing.assert_close(found[0, apart], wanted[0, apart], rtol=1e-3, atol=0)


def test_policies_that_make_no_sense_for_a_metric_are_refused():
    for metric, policies in METRIC_POLICIES.items():
        for policy in policies:
            check_policy(metric, policy)
    with pytest.raises(OptionError) as error:
        check_policy("head_kl", "drop")
    assert str(error.value) == (
        "head_kl cannot be taken with prefix='drop'; use 'renormalise' or 'keep'"
    )
    with pytest.raises(OptionError, match="attention_distance cannot be taken with prefix='keep'"):
        check_policy("attention_distance", "keep")
    with pytest.raises(UnknownNameError, match="did you mean 'renormalise'"):
        check_policy("head_kl", "renormalize")
    with pytest.raises(UnknownNameError, match="did you mean 'head_kl'"):
        check_policy("headkl", "keep")


def test_arguments_that_do_not_fit_are_refused():
    attention = random_attention((3, 1, 4, 4))
    with pytest.raises(UnknownNameError, match="unknown prefix policy 'renorm'"):
        patch_rows(attention, 1, prefix="renorm")
    for tokens in (-1, 4):
        with pytest.raises(OptionError, match=f"{tokens} prefix tokens in a map of 4 x 4 tokens"):
            patch_rows(attention, tokens)
    windows = windows_of(4, 2, (2, 2))
    with pytest.raises(OptionError, match="windows hold patches only, but 1 prefix tokens"):
        patch_rows(attention, 1, windows=windows)
    with pytest.raises(OptionError, match="3 windows of 4 x 4 tokens are no whole images of 2"):
        patch_rows(attention, windows=windows)
    with pytest.raises(OptionError, match="2 windows of 5 x 5 tokens are no whole images of 2"):
        patch_rows(random_attention((2, 1, 5, 5)), windows=windows)
