"""What a context changes in a network of transformers, and that it is put back."""

import gc
import weakref

import pytest
import torch

from mimprobe.hooks import capture
from mimprobe.models.sites import layout

transformers = pytest.importorskip("transformers", reason="needs mimprobe[hf]")

MASKED = ["mae", "mae pretraining"]
RENAMED = ["clip", "siglip", "dinov3"]
"""Families whose configurations have another word for dropout."""


def state(model):
    """Everything that a context could leave behind."""
    return {
        "implementation": model.config._attn_implementation,
        "configurations": [id(vars(module).get("config")) for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in model.modules()
        ],
        "weights": [value.clone() for value in model.state_dict().values()],
        "modes": [module.training for module in model.modules()],
    }


def assert_left_as_found(model, before):
    after = state(model)
    weights = zip(after.pop("weights"), before.pop("weights"), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
    assert after == before


def test_output_is_unchanged_and_nothing_is_left_behind(name, model, pixels):
    images = pixels(model)
    arguments = {"noise": torch.rand(2, 16)} if name in MASKED else {}
    with torch.no_grad():
        expected = model(images, **arguments)[0]
        before, random = state(model), torch.get_rng_state()
        with capture(model, layout(model).sites) as seen:
            during = model(images)[0]
            assert len(list(seen.values())) == len(layout(model).sites)
        assert torch.equal(torch.get_rng_state(), random)
        assert_left_as_found(model, before)
        assert torch.equal(model(images, **arguments)[0], expected)
    if name not in MASKED:  # which is shown all patches
        torch.testing.assert_close(during, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_put_back_when_the_pass_fails(model, pixels, error):
    before = state(model)

    def reduce(seen):
        if seen.layer == 1:
            raise error("stop")

    with pytest.raises(error, match="stop"), capture(model, layout(model).sites, reduce=reduce):
        model(pixels(model))
    assert_left_as_found(model, before)


def test_only_the_layers_asked_for_are_switched(build, inner):
    model = build("vit")
    places = layout(model)
    first, second = (inner(places[site].block) for site in places.feature_sites)
    with capture(model, ["blocks.1.attn.probs", "blocks.0.out"]):
        assert first.config is model.config
        assert model.config._attn_implementation == "sdpa"
        assert second.config._attn_implementation != "sdpa"
        assert second.config.hidden_size == 24
    with capture(model, places.feature_sites):
        assert second.config is model.config


def test_two_networks_of_one_configuration_do_not_disturb_each_other(build, pixels):
    model = build("vit")
    other = transformers.ViTModel(model.config).eval()
    images = pixels(model)
    with torch.no_grad():
        expected = other(images)[0]
        with capture(model, layout(model).sites) as seen:
            model(images)
            assert torch.equal(other(images)[0], expected)
    assert len(list(seen.values())) == 4


def test_a_context_within_a_context(model, pixels):
    places, images = layout(model), pixels(model)
    site, before = places.attention_sites[0], state(model)
    with torch.no_grad(), capture(model, places.attention_sites) as outer:
        with capture(model, [site]) as inner:
            model(images)
        assert torch.equal(inner[site].attention, outer[site].attention)
        model(images)
        assert len(list(outer.values())) == len(places.attention_sites)
    assert_left_as_found(model, before)


@pytest.mark.parametrize("implementation", [None, "eager"])
def test_no_two_maps_are_alive_at_once(name, build, pixels, implementation):
    model = build(name, attn_implementation=implementation)
    alive: list[weakref.ref[torch.UntypedStorage]] = []
    most = 0

    def reduce(seen):
        nonlocal most
        alive.append(weakref.ref(seen.attention.untyped_storage()))
        most = max(most, sum(reference() is not None for reference in alive))
        return seen.attention.sum()

    gc.disable()  # freed by reference counting, not by luck
    try:
        with torch.no_grad(), capture(model, layout(model).attention_sites, reduce=reduce):
            model(pixels(model))
    finally:
        gc.enable()
    assert len(alive) == len(layout(model).attention_sites)
    assert most == 1


def test_in_training_mode_the_map_is_the_one_before_dropout(name, build, pixels):
    argument = "attention_dropout" if name.split()[0] in RENAMED else "attention_probs_dropout_prob"
    model = build(name, **{argument: 0.9}).train()
    with torch.no_grad(), capture(model, layout(model).attention_sites) as seen:
        model(pixels(model))
    for observed in seen.values():
        rows = observed.attention.sum(-1)
        torch.testing.assert_close(rows, torch.ones_like(rows))
