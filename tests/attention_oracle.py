"""The probabilities of timm's attention modules from their weights, by other code."""

import torch
from torch import nn

from mimprobe.models.sites import layout


def own_attention(model, images):
    """Compute those of the first block in float64, from queries and keys as the network has them.

    Queries and keys are projected in the network's precision, and rounded nowhere behind that.
    """
    store = {}
    block = layout(model)[layout(model).attention_sites[0]].block
    handle = block.attn.register_forward_pre_hook(lambda m, args: store.update(x=args[0]))
    with torch.no_grad():
        model(images)
        handle.remove()
        query, key = _queries_and_keys(block.attn, store["x"])
        logits = _products(block.attn, query.double(), key.double())
        return (logits + _bias(model, block.attn)).softmax(-1)


def _queries_and_keys(attn, tokens):
    bias = attn.qkv.bias
    if getattr(attn, "q_bias", None) is not None:
        bias = torch.cat([attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias])
    qkv = nn.functional.linear(tokens, attn.qkv.weight, bias)
    return qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)[:2]


def _products(attn, query, key):
    scale = query.shape[-1] ** -0.5
    if hasattr(attn, "logit_scale"):  # SwinV2: cosine attention
        query, key = (part / part.norm(dim=-1, keepdim=True) for part in (query, key))
        scale = attn.logit_scale.double().clamp(max=4.605170185988092).exp()
    with torch.autocast("cpu", enabled=False):
        return query @ key.mT * scale


def _bias(model, attn):
    if getattr(model, "rel_pos_bias", None) is not None:
        return model.rel_pos_bias().double()
    if getattr(attn, "relative_position_bias_table", None) is not None:
        return attn._get_rel_pos_bias().double()
    if hasattr(attn, "cpb_mlp"):
        table = attn.cpb_mlp(attn.relative_coords_table).view(-1, attn.num_heads)
        index = attn.relative_position_index
        return 16 * table[index.view(-1)].view(*index.shape, -1).permute(2, 0, 1).double().sigmoid()
    return torch.zeros(())
