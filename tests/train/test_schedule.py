"""Rates by step against the recipe, and who decays."""

from itertools import pairwise

import pytest
import timm

from mimprobe.train.schedule import learning_rate, parameter_groups


def test_rate_warms_up_linearly_and_follows_half_a_cosine(make_config):
    config = make_config(
        epochs=100, warmup_epochs=10.0, batch_size=2048, base_learning_rate=2e-4,
        warmup_learning_rate=1e-6, min_learning_rate=1e-5,
    )  # fmt: skip
    rates = [learning_rate(step, 50, config) for step in range(5001)]
    assert rates[0] == 1e-6
    assert rates[250] == pytest.approx((1e-6 + 8e-4) / 2)
    assert rates[500] == pytest.approx(8e-4)
    assert rates[2750] == pytest.approx((8e-4 + 1e-5) / 2)
    assert rates[5000] == pytest.approx(1e-5)
    assert rates.index(max(rates)) == 500
    assert all(a < b for a, b in pairwise(rates[:501]))
    assert all(a > b for a, b in pairwise(rates[500:]))


def test_only_matrices_decay(make_config):
    model = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=24)
    decay, still = parameter_groups(model, make_config(weight_decay=0.05))
    assert (decay["weight_decay"], still["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in decay["params"]} == {
        "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight",
        "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight", "head.weight",
    }  # fmt: skip
    assert {"cls_token", "pos_embed"} <= {names[id(p)] for p in still["params"]}
    assert len(decay["params"]) + len(still["params"]) == len(names)
