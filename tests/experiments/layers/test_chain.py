"""Shared prefixes: the same features as running each changed network by itself, for less work."""

import pytest
import timm
import torch
from networks import NETWORKS, PLAIN, network, pixels
from torch.nn.modules.module import register_module_forward_hook

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.experiments.layers.chain import Chain, check_reading
from mimprobe.experiments.layers.variants import TESTS, intact, swaps
from mimprobe.hooks import capture
from mimprobe.models.sites import layout
from mimprobe.models.surgery import depth


def plainly(module, images, layer, pooling="mean"):
    """Run a whole network, and pool by hand."""
    found = layout(module)
    with torch.inference_mode():
        if layer is None:
            tokens = module.forward_features(images)
        else:
            with capture(module, found.feature_sites) as seen:
                module(images)
            tokens = seen[found.feature_sites[layer]].tokens
        tokens = tokens.reshape(len(images), -1, tokens.shape[-1])
        patches, first = tokens[:, found.prefix_tokens :], tokens[:, 0]
        parts = {"mean": [patches.mean(1)], "cls": [first], "both": [patches.mean(1), first]}
        norm = getattr(module, "fc_norm", None)
        norm = torch.nn.Identity() if norm is None or layer is not None else norm
        return torch.cat([norm(part) for part in parts[pooling]], dim=1)


def chained(module, variants, images, layer=None, pooling="mean"):
    with torch.inference_mode():
        return Chain(module, variants, layer=layer, pooling=pooling).features(images)


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_each_changed_network_by_itself(name, test, layer):
    module = network(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    variants = [intact(module), *TESTS[test](module, range(2))]
    found = chained(module, variants, pixels(), layer)
    for variant, features in zip(variants, found, strict=True):
        expected = plainly(variant.module, pixels(), layer)
        torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    torch.testing.assert_close(plainly(module, pixels(), layer), found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "both"])
def test_a_class_token_is_read_too(pooling):
    module = network("vit")
    variants = list(swaps(module, range(1)))
    for variant, features in zip(
        variants, chained(module, variants, pixels(), pooling=pooling), strict=True
    ):
        expected = plainly(variant.module, pixels(), None, pooling)
        torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6)


def test_a_second_batch_owes_nothing_to_the_first():
    module = network("vit")
    variants = list(swaps(module, range(1)))
    shells = Chain(module, variants, layer=None, pooling="mean")
    with torch.inference_mode():
        shells.features(pixels(seed=2))
        again = shells.features(pixels())
    for one, other in zip(again, chained(module, variants, pixels()), strict=True):
        assert torch.equal(one, other)


def evaluations(module, variants):
    counted = []
    kind = type(module.blocks[0])
    handle = register_module_forward_hook(
        lambda part, given, made: counted.append(1) if isinstance(part, kind) else None
    )
    try:
        chained(module, variants, pixels(1))
    finally:
        handle.remove()
    return len(counted)


def test_all_exchanges_of_twelve_blocks_share_their_prefixes():
    module = timm.models.VisionTransformer(**PLAIN, depth=12).eval()
    pairs = list(swaps(module, range(0)))
    assert len(pairs) == 66
    assert not any(variant.point.on_curve for variant in pairs)
    assert evaluations(module, [intact(module), *pairs]) == 584 <= 0.78 * 66 * 12


def test_dropping_from_the_end_takes_one_pass_for_all():
    module = timm.models.VisionTransformer(**PLAIN, depth=12).eval()
    drops = [variant for variant in TESTS["drop"](module, range(1)) if variant.point.on_curve]
    assert len(drops) == 11
    assert evaluations(module, [intact(module), *drops]) == 12


@pytest.mark.parametrize(
    ("layer", "pooling", "error", "told"),
    [
        (4, "mean", OptionError, "layer=4 (--layer 5) of a network of 4 blocks; choose 0 to 3"),
        (-1, "mean", OptionError, "layer=-1"),
        (None, "max", UnknownNameError, "unknown pooling 'max'"),
    ],
)
def test_what_cannot_be_read_is_refused(layer, pooling, error, told):
    with pytest.raises(error) as refused:
        check_reading(network("vit"), layer, pooling)
    assert str(refused.value).startswith(told)


def test_a_windowed_network_has_no_class_token():
    assert depth(network("swin")) == 6
    with pytest.raises(OptionError, match="no class token for pooling='cls'; use 'mean'"):
        check_reading(network("swin"), None, "cls")
