"""Swin and SwinV2 of transformers: which patch stands where in which window.

Their code pads first and rolls then, the other way round than timm's. Here patches are followed by
hand, and by sending coordinates through the real block.
"""

import pytest
import torch
from torch import nn

from mimprobe.hooks import capture
from mimprobe.models.geometry import Geometry, patch_distances, windows_of
from mimprobe.models.sites import layout

pytest.importorskip("transformers", reason="needs mimprobe[hf]")
CPU = torch.device("cpu")


def windows_by_hand(grid, window, shift):
    """Number of the patch at each place of each window, -1 for padding: pad, roll, cut."""
    rows, columns = grid
    tall, wide = (-(-size // window) * window for size in grid)

    def patch(row, column):
        row, column = (row + shift) % tall, (column + shift) % wide
        return row * columns + column if row < rows and column < columns else -1

    return torch.tensor(
        [
            [patch(top + i, left + j) for i in range(window) for j in range(window)]
            for top in range(0, tall, window)
            for left in range(0, wide, window)
        ]
    )


def unseen_by_hand(grid, window, shift):
    """Pairs of each window that the roll brought together from two sides of the padded map."""
    tall, wide = (-(-size // window) * window for size in grid)
    pairs = []
    for top in range(0, tall, window):
        for left in range(0, wide, window):
            wrapped = [
                (top + i + shift >= tall, left + j + shift >= wide)
                for i in range(window)
                for j in range(window)
            ]
            pairs.append([[one != other for other in wrapped] for one in wrapped])
    return torch.tensor(pairs)


def logits_by_hand(attention, query, key, window):
    """Follow the papers: Swin's table of offsets, SwinV2's cosines and logarithmic offsets."""
    places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    offsets = places[:, None] - places[None, :]
    if not hasattr(attention, "logit_scale"):
        steps = offsets + window - 1
        rows = steps[..., 0] * (2 * window - 1) + steps[..., 1]
        (table,) = (v for k, v in attention.named_parameters() if k.endswith("bias_table"))
        return query @ key.mT / query.shape[-1] ** 0.5 + table[rows].movedim(-1, 0)
    scaled = 8 * offsets / (window - 1)
    logarithms = scaled.sign() * (scaled.abs() + 1).log2() / 3
    bias = 16 * attention.continuous_position_bias_mlp(logarithms).sigmoid().movedim(-1, 0)
    query, key = (nn.functional.normalize(part, dim=-1) for part in (query, key))
    return query @ key.mT * attention.logit_scale.clamp(max=4.6051702).exp() + bias


@pytest.mark.parametrize("name", ["swin", "swinv2"])
@pytest.mark.parametrize("size", [(40, 40), (32, 64), (52, 44)])
def test_attention_in_windows_is_the_softmax_of_the_weights(name, model, size, inner, by_head):
    places = layout(model)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    for site in places.attention_sites:
        block, inputs = places[site].block, []
        with block.register_forward_pre_hook(lambda m, i, kept=inputs: kept.append(i[0])):
            with torch.no_grad(), capture(model, [site]) as seen:
                model(images)
        geometry, grid = seen[site].geometry, seen[site].geometry.grid
        assert geometry.stride == (4 * places[site].scale,) * 2
        assert grid == tuple(-(-side // (4 * places[site].scale)) for side in size)
        (window, _), (shift, _) = geometry.window, geometry.shift
        patches = windows_by_hand(grid, window, shift)
        unseen = unseen_by_hand(grid, window, shift)
        with torch.no_grad():
            tokens = inputs[0] if name == "swinv2" else block.layernorm_before(inputs[0])
            tokens = nn.functional.pad(tokens, (0, 0, 0, 1))  # patch -1 is zero
            query, key = by_head(inner(block), tokens[:, patches].flatten(0, 1))
            logits = logits_by_hand(inner(block), query, key, window)
            logits = logits.unflatten(0, (2, -1)) - 200 * unseen[:, None]
        torch.testing.assert_close(
            seen[site].attention, logits.softmax(-1).flatten(0, 1), rtol=1e-4, atol=1e-6
        )
        windows = windows_of(geometry, CPU)
        assert torch.equal(windows.by_window(windows.masked), unseen)
        padding = (patches < 0)[:, None].expand_as(unseen)
        assert torch.equal(windows.by_window(windows.padding), padding)


@pytest.mark.parametrize("name", ["swin", "swinv2"])
@pytest.mark.parametrize("grid", [(8, 12), (10, 13), (9, 5)])
def test_distances_are_those_of_the_coordinates_that_a_block_gathers(model, grid):
    places = layout(model)
    block = places["stages.0.blocks.1.out"].block
    block.layernorm_before = nn.Identity()
    gathered = []
    coordinates = torch.cartesian_prod(*(torch.arange(1.0, size + 1) for size in grid))
    tokens = nn.functional.pad(coordinates, (0, 6))[None]
    with block.attention.register_forward_pre_hook(lambda m, i: gathered.append(i[0])):
        with torch.no_grad():
            block(tokens, grid)
    held = gathered[0][..., :2]  # zero where it is padding
    padding = (held == 0).all(-1)
    geometry = Geometry(grid, (4, 4), 0, **places.reading.window(block)._asdict())
    assert geometry.shift == (2, 2)
    windows = windows_of(geometry, CPU)
    assert torch.equal(windows.by_window(windows.padding)[:, 0], padding)
    distances = patch_distances(geometry, CPU).view(len(held), 16, 16)
    expected = 4 * (held[:, :, None] - held[:, None]).square().sum(-1).sqrt()
    real = ~(padding[:, :, None] | padding[:, None, :])
    torch.testing.assert_close(distances[real], expected[real])


@pytest.mark.parametrize("name", ["swin"])
def test_a_map_of_one_window_is_not_shifted(model):
    with torch.no_grad(), capture(model, layout(model).attention_sites) as seen:
        model(torch.zeros(1, 3, 32, 32))
    shifts = [observed.geometry.shift for observed in seen.values()]
    assert shifts == [(0, 0), (2, 2), (0, 0), (0, 0)]
    assert [observed.geometry.windows for observed in seen.values()] == [4, 4, 1, 1]


@pytest.mark.parametrize("name", ["swin", "swin simmim", "swinv2"])
def test_the_input_is_padded_to_whole_patches(model):
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        getattr(model, model.base_model_prefix, model)(torch.zeros(1, 3, 38, 41))
    assert seen["stages.0.blocks.0.out"].geometry.grid == (10, 11)
    assert seen["stages.1.blocks.0.out"].geometry.grid == (5, 6)
    assert seen["stages.1.blocks.0.out"].tokens.shape == (1, 30, 16)
