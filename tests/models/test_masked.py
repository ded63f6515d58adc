"""Passes that do not see all patches."""

import pytest
import timm
import torch

from mimprobe.models.masked import masked_features, visible_features

SMALL = {"img_size": 32, "num_classes": 0}
NETWORKS = {
    "vit": ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}),
    "beit": ("beit_base_patch16_224", {"patch_size": 8, "embed_dim": 24, "depth": 2,
                                       "num_heads": 3, "global_pool": ""}),
    "swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 12, "depths": (1, 1, 1),
                                              "num_heads": (1, 2, 4), "window_size": 4}),
    "swinv2": ("swinv2_tiny_window8_256", {"embed_dim": 12, "depths": (1, 1, 1),
                                           "num_heads": (1, 2, 4), "window_size": 4}),
}  # fmt: skip


@pytest.fixture(params=list(NETWORKS))
def network(request):
    torch.manual_seed(0)
    name, arguments = NETWORKS[request.param]
    return timm.create_model(name, **SMALL, **arguments).eval().double()


def parts(network):
    rows, columns = network.patch_embed.grid_size
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 32, 32, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, rows, columns, generator=generator) < 0.5
    token = torch.randn(1, 1, network.patch_embed.proj.out_channels, dtype=torch.float64)
    return x, mask, token


def test_hidden_pixels_cannot_be_seen_and_visible_ones_can(network):
    x, mask, token = parts(network)
    side = 32 // mask.shape[1]
    hidden = mask.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None]
    with torch.no_grad():
        found = masked_features(network, x, mask, token)
        assert torch.equal(
            found, masked_features(network, torch.where(hidden, 9.0, x), mask, token)
        )
        changed = masked_features(network, torch.where(hidden, x, x + 1), mask, token)
        other = masked_features(network, x, mask, -token)
    assert not torch.allclose(found, changed)
    assert not torch.allclose(found, other)
    assert not network.patch_embed._forward_hooks


def test_without_a_mask_it_is_the_network_itself(network):
    x, mask, token = parts(network)
    with torch.no_grad():
        found = masked_features(network, x, torch.zeros_like(mask), token)
        expected = network.forward_features(x)
    if expected.ndim == 3:
        expected = expected[:, 1:].unflatten(1, mask.shape[1:])
    assert torch.equal(found, expected.permute(0, 3, 1, 2))


def test_all_patches_visible_is_the_network_itself_in_any_order():
    torch.manual_seed(0)
    name, arguments = NETWORKS["vit"]
    network = timm.create_model(name, **SMALL, **arguments).eval().double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    order = torch.randperm(16)
    with torch.no_grad():
        expected = network.forward_features(x)
        found = visible_features(network, x, order)
    torch.testing.assert_close(found[:, :1], expected[:, :1])
    torch.testing.assert_close(found[:, 1:], expected[:, 1:][:, order])


def test_the_hook_is_gone_after_an_error(network):
    x, mask, token = parts(network)
    with pytest.raises(RuntimeError):
        masked_features(network, x, mask, token[..., :-1])
    assert not network.patch_embed._forward_hooks
