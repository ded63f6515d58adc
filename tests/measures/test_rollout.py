"""Attention rollout against explicit products, and its properties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimprobe.errors import UnknownNameError
from mimprobe.measures.rollout import FUSIONS, attention_rollout, fused_heads


def maps(layers, heads=3, tokens=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [
        torch.randn(heads, tokens, tokens, generator=draw, dtype=torch.float64).mul(3).softmax(-1)
        for _ in range(layers)
    ]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_explicit_products(fusion):
    layers = maps(4)
    found = attention_rollout(fused_heads(layer, fusion) for layer in layers)
    product = np.eye(5)
    for layer, rolled in zip(layers, found, strict=True):
        fused = getattr(np, fusion)(layer.numpy(), axis=0)
        mixed = 0.5 * fused + 0.5 * np.eye(5)
        mixed = mixed / mixed.sum(1)[:, None]
        product = mixed.dot(product)
        np.testing.assert_allclose(rolled, product, rtol=1e-12)


def test_the_mean_of_heads_is_mixed_half_with_the_residual_path():
    (layer,) = maps(1)
    (rolled,) = attention_rollout([fused_heads(layer)])
    torch.testing.assert_close(rolled, layer.mean(0) / 2 + torch.eye(5, dtype=torch.float64) / 2)


def test_identity_stays_and_uniform_tends_to_uniform():
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.equal(attention_rollout([eye] * 3)[-1], eye)
    uniform = torch.full((4, 4), 0.25, dtype=torch.float64)
    torch.testing.assert_close(attention_rollout([uniform] * 60)[-1], uniform)
    # After l layers 2^-l of the residual path is left.
    expected = eye / 8 + uniform * 7 / 8
    torch.testing.assert_close(attention_rollout([uniform] * 3)[-1], expected)


@given(st.integers(1, 6), st.sampled_from(FUSIONS), st.integers(0, 1000))
def test_rows_are_probabilities_and_order_of_heads_does_not_matter(count, fusion, seed):
    layers = maps(count, seed=seed)
    rolled = attention_rollout(fused_heads(layer, fusion) for layer in layers)[-1]
    assert bool((rolled >= 0).all())
    torch.testing.assert_close(rolled.sum(1), torch.ones(5, dtype=torch.float64))
    turned = attention_rollout(fused_heads(layer.flip(0), fusion) for layer in layers)[-1]
    torch.testing.assert_close(turned, rolled)


def test_unknown_fusion():
    with pytest.raises(UnknownNameError, match="unknown fusion of heads 'median'"):
        fused_heads(maps(1)[0], "median")
