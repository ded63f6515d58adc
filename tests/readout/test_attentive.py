"""The attentive probe: its formula, where it begins, and what it finds that a mean hides."""

import numpy as np
import pytest
import torch

from mimprobe.errors import OptionError
from mimprobe.readout.attentive import AttentiveProbe, attentive_probe
from mimprobe.readout.linear import fitted_probe, linear_probe


def hidden(images, seed):
    """One patch of nine, marked by a large first channel, tells the class; others lie as loudly."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % 3
    tokens = torch.randn(images, 9, 8, generator=draw)
    told = torch.randint(3, (images, 9), generator=draw)
    place = torch.randint(9, (images,), generator=draw)
    told[torch.arange(images), place] = labels
    tokens[..., 1:4] += 3 * torch.eye(3)[told]
    tokens[torch.arange(images), place, 0] += 6
    return tokens, labels


def test_begins_at_the_linear_probe_of_the_mean():
    tokens, labels = hidden(60, 0)
    linear = fitted_probe(tokens.mean(1), labels, 0.1)
    assert torch.equal(AttentiveProbe(linear).classes(tokens), linear.classes(tokens.mean(1)))


def test_is_softmax_attention_of_one_query():
    tokens, labels = hidden(30, 0)
    probe = AttentiveProbe(fitted_probe(tokens.mean(1), labels, 0.1))
    with torch.no_grad():
        probe.query.copy_(torch.linspace(-2, 3, 8))
        found = probe(tokens)
    x, root = tokens.double().numpy(), 8**0.5
    query, weights = (part.detach().double().numpy() for part in (probe.query, probe.weights))
    for image in range(30):
        logits = [query / probe.scale.double().numpy() @ token / root for token in x[image]]
        shares = np.exp(logits) / np.sum(np.exp(logits))
        average = sum(share * token for share, token in zip(shares, x[image], strict=True))
        expected = weights @ ((average - probe.centre.numpy()) / probe.scale.numpy())
        expected += probe.intercepts.detach().numpy()
        np.testing.assert_allclose(found[image], expected, rtol=1e-4, atol=1e-4)


def test_finds_the_patch_that_tells_the_class():
    tokens, labels = hidden(450, 0)
    queries, truth = hidden(300, 1)
    trained = attentive_probe(tokens, labels, seed=0)
    mean = linear_probe(tokens.mean(1), labels, seed=0)
    accuracy = (trained.probe.classes(queries) == truth).double().mean().item()
    of_mean = (mean.classes(queries.mean(1)) == truth).double().mean().item()
    assert trained.steps > 0
    assert accuracy > of_mean + 0.1
    again = attentive_probe(tokens, labels, seed=0)
    assert again.steps == trained.steps
    assert torch.equal(again.probe.query, trained.probe.query)


def test_one_image_of_each_class_is_too_few():
    tokens, labels = hidden(3, 0)
    with pytest.raises(OptionError, match="each of 3 images is the only one of its class"):
        attentive_probe(tokens, labels, seed=0)
