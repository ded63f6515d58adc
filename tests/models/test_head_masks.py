"""Heads that give nothing, against networks whose projection does not read them."""

import copy
from functools import partial

import pytest
import torch
from blocks_by_hand import NETWORKS, OTHERS, blocks_of, build, passed
from timm.models.vision_transformer import ParallelScalingBlock, ParallelThingsBlock
from torch import nn

from mimprobe.errors import OptionError
from mimprobe.models.surgery import mask_heads

ALL = [*NETWORKS, *OTHERS]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_masked_heads_reach_the_projection_as_zero(name, fused):
    network = build(name)
    side = network.patch_embed.img_size[0]
    images = torch.randn(2, 3, side, side)
    for block in blocks_of(network):
        block.attn.fused_attn = fused
    changed, intact = mask_heads(network, {2: [1], 3: [0, 1]}), copy.deepcopy(network)
    before = passed(network, images)
    _spoil_head(blocks_of(intact)[2].attn, 1)
    assert not torch.allclose(passed(intact, images), before)
    by_hand = copy.deepcopy(network)  # the weights of the changed network are shared and stay
    for layer, channels in ((2, slice(1, 2)), (3, slice(0, 2))):
        attention = blocks_of(by_hand)[layer].attn
        with torch.no_grad():
            attention.proj.weight.unflatten(1, (attention.num_heads, -1))[:, channels] = 0
    after = passed(changed, images)
    if not isinstance(getattr(attention, "norm", None), nn.LayerNorm):  # it sees all heads
        torch.testing.assert_close(after, passed(by_hand, images))
    assert not torch.allclose(after, before)
    _spoil_head(blocks_of(network)[2].attn, 1)
    torch.testing.assert_close(passed(changed, images), after)
    torch.testing.assert_close(passed(copy.deepcopy(changed), images), after)


@torch.no_grad()
def _spoil_head(attention, head):
    """Change the values of a head, and so what it gives."""
    apart = getattr(attention, "v_proj", None)
    weights = attention.qkv.weight.chunk(3)[2] if apart is None else apart.weight
    weights.unflatten(0, (attention.num_heads, -1))[head] += 1


def test_heads_beside_the_mlp():
    """Blocks that project heads and MLP by one matrix cannot mask heads, those by two can."""
    fused = partial(ParallelScalingBlock, fuse_out_proj=True)
    with pytest.raises(OptionError) as error:
        mask_heads(build("vit", block_fn=fused), {1: [0]})
    assert str(error.value) == (
        "block 1 is a ParallelScalingBlock that projects the outputs of its heads together with "
        "those of its MLP; its heads cannot be masked"
    )
    network, images = build("vit", block_fn=ParallelScalingBlock), torch.randn(2, 3, 32, 32)
    changed = mask_heads(network, {1: [0, 1, 2]})
    with torch.no_grad():
        network.blocks[1].attn_out_proj.weight.zero_()
    torch.testing.assert_close(passed(changed, images), passed(network, images))


def test_blocks_whose_heads_cannot_be_told_apart():
    with pytest.raises(OptionError) as error:
        mask_heads(build("vit", block_fn=ParallelThingsBlock), {1: [0]})
    assert str(error.value) == (
        "block 1 is a ParallelThingsBlock, whose heads cannot be told apart"
    )
