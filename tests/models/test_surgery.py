"""Every surgery against a network built by hand in the changed order."""

import copy
import math

import pytest
import timm
import torch
from blocks_by_hand import NETWORKS, OTHERS, blocks_of, build, outputs, passed

from mimprobe.errors import OptionError
from mimprobe.hooks import capture
from mimprobe.models.sites import layout
from mimprobe.models.surgery import (
    depth,
    drop_block,
    drop_last,
    exchangeable_pairs,
    mask_heads,
    permute_blocks,
    permuted,
    reinitialise_block,
    swap_blocks,
    transplant_block,
    with_gaps_of,
)

ALL = [*NETWORKS, *OTHERS]
STAGES = "only blocks of one stage and one shift_size can"


@pytest.fixture(params=NETWORKS)
def network(request):
    return build(request.param)


@pytest.fixture
def images(network):
    side = network.patch_embed.img_size[0]
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def untouched(request):
    """Whatever a test does to its network, nothing of it changes."""
    if "network" not in request.fixturenames:
        yield
        return
    network, images = (request.getfixturevalue(name) for name in ("network", "images"))
    state = copy.deepcopy(network.state_dict())
    modules, before = list(network.modules()), passed(network, images)
    yield
    assert all(one is other for one, other in zip(modules, network.modules(), strict=True))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert torch.equal(passed(network, images), before)


def test_the_pass_by_hand_is_that_of_the_network(network, images):
    torch.testing.assert_close(
        outputs(network, images, blocks_of(network)), passed(network, images)
    )


def test_swapped_blocks(network, images):
    for i, j in exchangeable_pairs(network):
        blocks = blocks_of(network)
        blocks[i], blocks[j] = blocks[j], blocks[i]
        found = passed(swap_blocks(network, i, j), images)
        torch.testing.assert_close(found, outputs(network, images, blocks))
        assert not torch.allclose(found, passed(network, images))


def test_permuted_blocks(network, images):
    for k, seed in ((0, 0), (2, 1), (4, 2)):
        order = permuted(network, k, seed)
        assert order == permuted(network, k, seed)
        assert sum(block != at for at, block in enumerate(order)) == k
        blocks = [blocks_of(network)[block] for block in order]
        found = passed(permute_blocks(network, k, seed), images)
        torch.testing.assert_close(found, outputs(network, images, blocks))


def test_any_number_of_last_blocks_can_be_dropped(network, images):
    for k in range(depth(network)):
        blocks = blocks_of(network)
        blocks[len(blocks) - k :] = [None] * k
        found = passed(drop_last(network, k), images)
        torch.testing.assert_close(found, outputs(network, images, blocks))
    with pytest.raises(OptionError) as error:
        drop_last(network, k + 1)
    assert str(error.value) == (
        f"the last {k + 1} blocks cannot be dropped: this network has {k + 1} blocks, so that 0 to "
        f"{k} can"
    )


def test_a_dropped_block(network, images):
    for i in range(depth(network)):
        blocks = blocks_of(network)
        blocks[i] = None
        found = passed(drop_block(network, i), images)
        torch.testing.assert_close(found, outputs(network, images, blocks))


def test_surgeries_follow_each_other(network, images):
    i, j = exchangeable_pairs(network)[0]
    blocks = blocks_of(network)
    blocks[i], blocks[j], blocks[-1] = blocks[j], None, None
    changed = drop_last(swap_blocks(drop_block(network, i), i, j), 1)
    torch.testing.assert_close(passed(changed, images), outputs(network, images, blocks))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_transplanted_block(name):
    network, donor = build(name), build(name, seed=1)
    side = network.patch_embed.img_size[0]
    images = torch.randn(2, 3, side, side)
    blocks = blocks_of(network)
    blocks[2] = blocks_of(donor)[2]
    changed = transplant_block(network, donor, 2)
    torch.testing.assert_close(passed(changed, images), outputs(network, images, blocks))
    one, other = blocks_of(changed)[2], blocks_of(donor)[2]
    assert one is not other
    for mine, given in zip(one.parameters(), other.parameters(), strict=True):
        assert mine is given


@pytest.mark.parametrize("name", ALL)
def test_a_reset_block_is_like_one_of_a_new_network(name):
    network, new = build(name), build(name)
    new.init_weights()
    rng = torch.get_rng_state()
    changed = reinitialise_block(network, 2, seed=3)
    assert torch.equal(torch.get_rng_state(), rng)
    again, other = (reinitialise_block(network, 2, seed=seed) for seed in (3, 4))
    drawn = 0
    for (key, found), expected, same, different, old in zip(
        blocks_of(changed)[2].named_parameters(),
        *(blocks_of(one)[2].parameters() for one in (new, again, other, network)), strict=True,
    ):  # fmt: skip
        assert torch.equal(found, same)
        assert not torch.equal(found, old)
        if expected.unique().numel() == 1:
            assert torch.equal(found, expected), key
            continue
        drawn += 1
        assert not torch.equal(found, different)
        assert found.std().item() == pytest.approx(expected.std().item(), rel=0.3), key
    assert drawn >= 4
    shared = zip(blocks_of(changed), blocks_of(network), strict=True)
    for at, (one, other) in enumerate(shared):
        assert (next(one.parameters()) is next(other.parameters())) == (at != 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_a_reset_block_do_not_depend_on_precision(dtype):
    expected = blocks_of(reinitialise_block(build("swinv2"), 3, seed=0))[3].to(dtype)
    found = blocks_of(reinitialise_block(build("swinv2").to(dtype), 3, seed=0))[3]
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)


def test_deep_blocks_start_smaller_where_timm_scales_them():
    network = build("beit")
    for i in range(4):
        block = blocks_of(reinitialise_block(network, i, seed=0))[i]
        expected = 0.02 / math.sqrt(2 * (i + 1))
        assert block.mlp.fc2.weight.std().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ALL)
def test_sites_can_be_captured_in_changed_networks(name):
    network = build(name)
    side = network.patch_embed.img_size[0]
    images = torch.randn(2, 3, side, side)
    swapped = swap_blocks(network, *exchangeable_pairs(network)[0])
    changed = mask_heads(drop_block(swapped, 3), {2: [0]})
    before, places = layout(network), layout(changed)
    assert places.feature_sites == before.feature_sites
    left = [site for site in before.attention_sites if before[site].layer != 3]
    assert list(places.attention_sites) == left
    with torch.no_grad(), capture(changed, places.sites) as seen:
        changed(images)
        tokens = [seen[site].tokens for site in places.feature_sites]
        assert torch.equal(tokens[3], tokens[2])
        assert {seen[site].layer for site in left} == {*range(depth(network))} - {3}


def test_tensors_are_shared_and_flags_and_observers_are_not_mixed_up(network, images):
    calls = []
    handle = network.patch_embed.register_forward_hook(lambda *_: calls.append(0))
    blocks_of(network)[1].train()
    changed = drop_block(network, 0)
    passed(changed, images)
    assert not calls
    assert [block.training for block in blocks_of(changed)[1:3]] == [True, False]
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    tensors = [*changed.named_parameters(), *changed.named_buffers()]
    assert all(tensor is own[key] for key, tensor in tensors)
    assert {id(part) for part in network.modules()}.isdisjoint(map(id, changed.modules()))
    handle.remove()
    blocks_of(network)[1].eval()


def test_a_network_that_is_observed_is_not_copied(network, images):
    site = layout(network).attention_sites[0]
    with capture(network, [site]), pytest.raises(OptionError) as error:
        swap_blocks(network, *exchangeable_pairs(network)[0])
    path = "layers.0.blocks.0" if site.startswith("stages") else "blocks.0"
    assert str(error.value) == (
        f"the forward of {path}.attn is replaced at present, as while it is observed; change the "
        "network outside of that context"
    )


def test_which_blocks_can_change_places():
    assert len(exchangeable_pairs(build("vit"))) == 6
    # Stages of 2, 4 and 2 on maps of 16, 8 and 4: where a window is the map, none is shifted.
    for name in ("swin", "swinv2"):
        assert exchangeable_pairs(build(name)) == [(2, 4), (3, 5), (6, 7)]


def test_gaps_of_another_network_of_the_same_build(network, images):
    changed = mask_heads(drop_last(network, 2), {1: [0]})
    torch.testing.assert_close(
        passed(with_gaps_of(network, changed), images), passed(changed, images)
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("vit", lambda m: swap_blocks(m, 0, 4),
         "there is no block 4: this network has 4 blocks, 0 to 3"),
        ("vit", lambda m: drop_block(m, -1),
         "there is no block -1: this network has 4 blocks, 0 to 3"),
        ("vit", lambda m: swap_blocks(m, 2, 2),
         "block 2 cannot change places with itself; name two blocks"),
        ("swin", lambda m: swap_blocks(m, 3, 4),
         "blocks 3 and 4 cannot change places: block 3 is of stage 1 with shift_size (2, 2), block "
         f"4 of stage 1 with shift_size (0, 0); {STAGES}, such as 3 and 5"),
        ("swinv2", lambda m: swap_blocks(m, 0, 2),
         "blocks 0 and 2 cannot change places: block 0 is of stage 0 with shift_size (0, 0), block "
         f"2 of stage 1 with shift_size (0, 0); {STAGES}, and block 0 is the only one of its kind"),
        ("vit", lambda m: permute_blocks(m, 1, 0),
         "1 blocks cannot change places: one block alone has nowhere to go; the nearest number "
         "that can is 2"),
        ("vit", lambda m: permute_blocks(m, 5, 0),
         "5 blocks cannot change places: this network has 4 blocks; the nearest number that can "
         "is 4"),
        ("swin", lambda m: permute_blocks(m, 8, 0),
         "8 blocks cannot change places: blocks change places only within one stage and one "
         "shift_size; the nearest number that can is 6"),
        ("vit", lambda m: drop_last(m, -1),
         "the last -1 blocks cannot be dropped: this network has 4 blocks, so that 0 to 3 can"),
        ("vit", lambda m: reinitialise_block(drop_block(m, 1), 1, 0),
         "block 1 was dropped before; choose one that is still there"),
        ("vit", lambda m: mask_heads(m, {0: [3]}),
         "there is no head 3 in block 0: its heads are 0 to 2"),
        ("vit", lambda m: transplant_block(m, build("vit", embed_dim=36), 0),
         "block 0 of the donor does not fit: its norm1.weight is of shape (36,), not of shape "
         "(24,)"),
        ("vit", lambda m: transplant_block(m, build("vit", num_heads=4), 0),
         "block 0 of the donor does not fit: it has 4 heads, not 3"),
        ("vit", lambda m: transplant_block(m, build("beit"), 0),
         "block 0 of the donor does not fit: it is a timm.models.beit.Block, not a "
         "timm.models.vision_transformer.Block"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(name, change, message):
    with pytest.raises(OptionError) as error:
        change(build(name))
    assert str(error.value) == message


POSSIBLE = (
    "blocks can be swapped, dropped, reset and transplanted, and heads masked, in timm's "
    "VisionTransformer, Beit, Eva, VisionTransformerRelPos, SwinTransformer, SwinTransformerV2"
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "ResNet has no attention blocks"),
        ("convnext_atto", "ConvNeXt has no attention blocks"),
        ("mobilenetv3_small_050", "MobileNetV3 is of no family whose blocks are known"),
    ],
)
def test_networks_without_attention_blocks(name, reason):
    network = timm.create_model(name)
    for change in (depth, lambda m: drop_last(m, 1), lambda m: swap_blocks(m, 0, 1),
                   lambda m: mask_heads(m, {0: [0]})):  # fmt: skip
        with pytest.raises(OptionError) as error:
            change(network)
        assert str(error.value) == f"{reason}; {POSSIBLE}"


def test_networks_of_other_libraries():
    from torchvision.models import VisionTransformer

    network = VisionTransformer(32, 8, 2, 3, 24, 32)
    with pytest.raises(OptionError) as error:
        depth(network)
    assert str(error.value) == f"torchvision's VisionTransformer is none of timm's; {POSSIBLE}"
