"""Probabilities of fused calls: against their definition, and what is left of the watching."""

import threading
from itertools import product
from math import exp, inf

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import scaled_dot_product_attention as imported_by_name

from mimprobe.errors import SiteError
from mimprobe.models.interception import attention_probabilities, watched
from mimprobe.models.sites import Site, Tap

BATCH, HEADS, TOKENS, CHANNELS = 2, 4, 5, 3


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


QUERY = drawn(BATCH, HEADS, TOKENS, CHANNELS) * 3
KEY = drawn(BATCH, HEADS, TOKENS, CHANNELS, seed=1)
ALLOWED = drawn(BATCH, 1, TOKENS, TOKENS, seed=2) > -0.5
ALLOWED[..., 0] = True
HIDDEN_ROW = ALLOWED.clone()
HIDDEN_ROW[1, :, 2] = False
PADDED = torch.tensor([True, True, True, False, True])[None, None, None]
CASES = {
    "plain": {},
    "scale": {"scale": 0.3},
    "causal": {"is_causal": True},
    "boolean": {"mask": ALLOWED},
    "boolean, for all images": {"mask": ALLOWED[0, 0]},
    "a row without keys": {"mask": HIDDEN_ROW},
    "padded keys": {"mask": PADDED},
    "additive": {"mask": drawn(BATCH, HEADS, TOKENS, TOKENS, seed=3)},
    "additive, for all images": {"mask": drawn(HEADS, TOKENS, TOKENS, seed=3)},
    "additive with infinity": {"mask": torch.where(ALLOWED, 0.5, -inf), "scale": 2.0},
    "additive in half precision": {"mask": drawn(1, 1, TOKENS, TOKENS, seed=3).bfloat16()},
}


def by_hand(query, key, mask=None, scale=None, is_causal=False):
    """Follow the definition pair by pair in float64."""
    query, key = query.double().numpy(), key.double().numpy()
    shape = (*query.shape[:3], query.shape[2])
    added = np.zeros(shape)
    if mask is not None and mask.dtype == torch.bool:
        added = np.where(np.broadcast_to(mask.numpy(), shape), 0.0, -inf)
    elif mask is not None:
        added = np.broadcast_to(mask.double().numpy(), shape)
    found = np.zeros(shape)
    group = query.shape[1] // key.shape[1]
    for image, head, row in product(*map(range, query.shape[:3])):
        weights = []
        for column in range(shape[3]):
            logit = sum(query[image, head, row] * key[image, head // group, column])
            logit = logit * (query.shape[3] ** -0.5 if scale is None else scale)
            hidden = is_causal and column > row
            weights.append(0.0 if hidden else exp(logit + added[image, head, row, column]))
        if sum(weights):
            found[image, head, row] = np.array(weights) / sum(weights)
    return torch.from_numpy(found)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_probabilities_are_those_of_the_definition(case, key_heads):
    key = KEY[:, :key_heads]
    found = attention_probabilities(QUERY, key, **CASES[case])
    assert found.dtype == torch.float32
    expected = by_hand(QUERY, key, **CASES[case])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
    exact = attention_probabilities(QUERY.double(), key.double(), **CASES[case])
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_nowhere(case, dtype):
    query, key = QUERY.to(dtype), KEY.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention_probabilities(query, key, **CASES[case])
    expected = by_hand(query.float(), key.float(), **CASES[case])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(
    heads=st.integers(1, 3), group=st.integers(1, 3), tokens=st.integers(1, 9),
    channels=st.integers(1, 8), scale=st.none() | st.floats(0.01, 4),
    masked=st.sampled_from(["no", "causal", "boolean", "additive"]), seed=st.integers(0, 999),
)  # fmt: skip
def test_the_fused_function_weights_values_by_them(
    heads, group, tokens, channels, scale, masked, seed
):
    """With values that are one for one token each, its output is the probabilities."""
    query = drawn(2, heads * group, tokens, channels, seed=seed).double()
    key = drawn(2, heads, tokens, channels, seed=seed + 1).double()
    numbers = drawn(tokens, tokens, seed=seed + 2).double()
    mask = {"boolean": numbers > 0, "additive": numbers}.get(masked)
    values = torch.eye(tokens).double().expand(2, heads, -1, -1)
    causal = masked == "causal"
    fused = F.scaled_dot_product_attention(
        query, key, values, mask, is_causal=causal, scale=scale, enable_gqa=True
    )
    found = attention_probabilities(query, key, mask, scale=scale, is_causal=causal)
    torch.testing.assert_close(found, fused, rtol=1e-10, atol=1e-12)


class Attending(nn.Module):
    """Calls whatever it is given with itself as queries, keys and values."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, tokens):
        return self.call(tokens, tokens, tokens)


def watch(module, show):
    return watched(Site("blocks.0.attn.probs", 0, module, Tap(HEADS, None, module)), show)


def fused_with_all(query, key, value):
    return F.scaled_dot_product_attention(
        query, key[:, :2], value[:, :2], attn_mask=ALLOWED, scale=0.7, enable_gqa=True
    )


def fused_by_keyword(query, key, value):
    return F.scaled_dot_product_attention(query=query, key=key, value=value, is_causal=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("call", "key_heads", "arguments"),
    [
        (imported_by_name, 4, {}),
        (fused_with_all, 2, {"mask": ALLOWED, "scale": 0.7}),
        (fused_by_keyword, 4, {"is_causal": True}),
    ],
)
def test_a_fused_call_is_seen_and_its_output_is_what_it_was(call, key_heads, arguments, dtype):
    module, shown = Attending(call), []
    tokens = QUERY.to(dtype)
    before = module(tokens)
    with watch(module, shown.append):
        assert torch.equal(module(tokens), before)
    (seen,) = shown
    exact = tokens.float() if dtype == torch.bfloat16 else tokens
    expected = by_hand(exact, exact[:, :key_heads], **arguments)
    torch.testing.assert_close(seen.double(), expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(module(tokens), before)
    assert len(shown) == 1


def test_gradients_and_random_numbers_are_what_they_were():
    def dropping(query, key, value):
        return F.scaled_dot_product_attention(query, key, value, dropout_p=0.5)

    module, gradients = Attending(dropping), []
    for observed in (False, True):
        torch.manual_seed(0)
        tokens = QUERY.clone().requires_grad_()
        with watch(module if observed else nn.Identity(), lambda seen: None):
            module(tokens).square().sum().backward()
        gradients.append(tokens.grad)
    assert torch.equal(*gradients)


def test_two_fused_calls_are_refused():
    module = Attending(lambda q, k, v: imported_by_name(q, k, v) + imported_by_name(k, q, v))
    with (
        watch(module, lambda seen: None),
        pytest.raises(
            SiteError,
            match=r"^site 'blocks\.0\.attn\.probs' has two fused attention calls .* leave",
        ),
    ):
        module(QUERY)


def test_one_call_in_each_of_two_passes_is_none_too_many():
    module, shown = Attending(imported_by_name), []
    with watch(module, shown.append):
        module(QUERY), module(QUERY)
    assert len(shown) == 2


def test_attention_to_other_tokens_is_refused():
    module = Attending(lambda q, k, v: imported_by_name(q, k[:, :, :3], v[:, :, :3]))
    with watch(module, lambda seen: None):
        with pytest.raises(SiteError, match=r"has 5 queries and 3 keys: that is attention to"):
            module(QUERY)


def test_a_context_within_a_context():
    module, outer, inner = Attending(imported_by_name), [], []
    with watch(module, outer.append):
        with watch(module, inner.append):
            module(QUERY)
        assert torch.equal(outer[0], inner[0])
        module(QUERY)
    assert (len(outer), len(inner)) == (2, 1)
    assert "forward" not in vars(module)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_when_the_pass_fails(error):
    def fail(seen):
        raise error("stop")

    module = Attending(imported_by_name)
    with pytest.raises(error, match="stop"), watch(module, fail):
        module(QUERY)
    assert "forward" not in vars(module)
    assert torch._C._len_torch_function_stack() == 0
    assert F.scaled_dot_product_attention is imported_by_name


def test_calls_of_other_modules_and_threads_are_not_seen():
    module, other, shown = Attending(imported_by_name), Attending(imported_by_name), []

    def show(seen):
        shown.append(seen)
        beside = threading.Thread(target=other, args=(QUERY,))
        beside.start()
        beside.join()

    with watch(module, show):
        other(QUERY)
        module(QUERY)
    assert len(shown) == 1
