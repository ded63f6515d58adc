"""Tokens of one image, against loops over tokens and pairs in float64."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.measures.tokens import activation_ratio, feature_norm, token_similarity


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def similarity_by_pairs(image):
    kept = [token / np.linalg.norm(token) for token in image if np.linalg.norm(token) > 0]
    pairs = [a @ b for a, b in itertools.combinations(kept, 2)]
    return np.mean(pairs) if pairs else np.nan


def test_similarity_is_the_mean_over_pairs():
    tokens = draw(3, 7, 5) + 0.5
    found = token_similarity(tokens).numpy()
    expected = [similarity_by_pairs(image) for image in tokens.double().numpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_tokens_without_direction_are_left_out():
    tokens = draw(3, 6, 4)
    tokens[0, 2] = 0
    tokens[1, 1:] = 0
    tokens[2] = 0
    found = token_similarity(tokens)
    assert found[0].item() == pytest.approx(similarity_by_pairs(tokens[0].double().numpy()))
    assert found[1:].isnan().all()


def test_equal_tokens_are_alike_and_opposite_ones_are_not():
    token = draw(1, 1, 16)
    assert token_similarity(token.expand(1, 9, 16)).item() == pytest.approx(1, abs=1e-12)
    assert token_similarity(torch.cat([token, -token], 1)).item() == pytest.approx(-1, abs=1e-12)
    assert token_similarity(torch.eye(8).unsqueeze(0)).item() == pytest.approx(0, abs=1e-12)


@settings(deadline=None)
@given(
    scale=st.floats(1e-3, 1e3), seed=st.integers(0, 10_000), count=st.integers(2, 12),
    width=st.integers(1, 9),
)  # fmt: skip
def test_similarity_knows_neither_rotation_nor_the_length_of_a_token(scale, seed, count, width):
    tokens = draw(2, count, width, seed=seed, dtype=torch.float64)
    turn, _ = torch.linalg.qr(draw(width, width, seed=seed + 1, dtype=torch.float64))
    lengths = scale * (0.5 + draw(2, count, 1, seed=seed + 2, dtype=torch.float64).abs())
    torch.testing.assert_close(
        token_similarity(tokens @ turn * lengths), token_similarity(tokens), rtol=1e-9, atol=1e-9
    )


def test_norm_is_the_mean_length():
    tokens = draw(3, 7, 5) * 100
    expected = [np.mean([np.sqrt(sum(t * t)) for t in image]) for image in tokens.double().numpy()]
    np.testing.assert_allclose(feature_norm(tokens).numpy(), expected, rtol=1e-12)
    assert feature_norm(torch.full((1, 4, 9), 2.0)).item() == 6


@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 6, 4), (2, 1, 1), (1, 197, 768)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ratio_is_largest_over_lower_median(shape, dtype):
    tokens = (draw(*shape) * 10.0 ** draw(*shape, seed=1)).to(dtype)
    for image, found in zip(tokens, activation_ratio(tokens), strict=True):
        sizes = np.sort(np.abs(image.double().numpy().ravel()))
        assert found.item() == pytest.approx(sizes[-1] / sizes[(len(sizes) - 1) // 2], rel=1e-12)


def test_a_massive_activation_shows():
    tokens = torch.ones(1, 5, 4)
    tokens[0, 2, 1] = -3000
    assert activation_ratio(tokens).item() == 3000


def test_no_ratio_where_the_median_is_zero():
    tokens = torch.relu(draw(1, 8, 8) - 3)
    assert activation_ratio(tokens).isnan().all()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), power=st.integers(-20, 20))
def test_the_ratio_has_no_scale(seed, power):
    tokens = draw(2, 5, 6, seed=seed)
    torch.testing.assert_close(activation_ratio(tokens * 2.0**power), activation_ratio(tokens))
