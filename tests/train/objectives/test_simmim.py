"""SimMIM against its definition: what is hidden, what is predicted, what counts."""

import numpy as np
import pytest
import torch
from encoders import FAMILIES

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.train.objectives import SimMIM


@pytest.fixture
def model(make_config):
    torch.manual_seed(0)
    return SimMIM(make_config(), []).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def masks(*cells):
    """Masks of 4 x 4 patches, out of 2 x 2 cells of 16 px."""
    coarse = torch.zeros(len(cells), 2, 2, dtype=torch.bool)
    for number, chosen in enumerate(cells):
        for row, column in chosen:
            coarse[number, row, column] = True
    return coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)


def test_loss_is_the_original_arithmetic(model):
    """`(|x - x'| M).sum() / (M.sum() + 1e-5) / 3` with M of shape (B, 1, H, W), in NumPy."""
    draw = np.random.default_rng(0)
    x, predicted = draw.normal(size=(2, 3, 3, 32, 32))
    mask = masks([(0, 0)], [(0, 1), (1, 0)], [(1, 1)])
    model.predict = lambda images, mask: torch.from_numpy(predicted)
    pixels = np.kron(mask.numpy(), np.ones((8, 8)))[:, None]
    expected = (np.abs(x - predicted) * pixels).sum() / (pixels.sum() + 1e-5) / 3
    assert model(torch.from_numpy(x), mask).item() == pytest.approx(expected, rel=1e-13)


def test_hidden_pixels_cannot_be_seen(model, images):
    mask = masks([(0, 0)], [(0, 0)], [(0, 0)])
    changed = images.clone()
    changed[:, :, :16, :16] = 7.0
    with torch.no_grad():
        assert torch.equal(model.reconstruct(images, mask), model.reconstruct(changed, mask))
        changed[:, :, 20, 20] += 1
        assert not torch.equal(model.reconstruct(images, mask), model.reconstruct(changed, mask))


def test_positions_of_hidden_patches_are_known(model, images):
    """The mask token stands before the position embedding: two hidden patches differ."""
    everything = masks(*[[(0, 0), (0, 1), (1, 0), (1, 1)]] * 3)
    with torch.no_grad():
        predicted = model.reconstruct(images, everything)
    assert not torch.equal(predicted[:, :, :8, :8], predicted[:, :, :8, 8:16])


def test_each_output_patch_belongs_to_its_token(model, images):
    """The head turns token (row, column) into the pixels of that patch and of no other."""
    mask = masks([(0, 0)], [(0, 0)], [(0, 0)])
    tokens = {}
    handle = model.head.register_forward_pre_hook(
        lambda m, args: tokens.update(map=args[0].clone())
    )
    with torch.no_grad():
        before = model.reconstruct(images, mask)
        tokens["map"][:, :, 2, 1] += 1
        after = model.head(tokens["map"])
    handle.remove()
    changed = (before != after).any(1)[0].nonzero()
    assert changed.min(0).values.tolist() == [16, 8]
    assert changed.max(0).values.tolist() == [23, 15]


def test_gradient_reaches_mask_token_encoder_and_head_and_the_hook_is_gone(model, images):
    model(images, masks([(0, 0)], [(0, 1)], [(1, 1)])).backward()
    for name in ("mask_token", "encoder.blocks.0.attn.qkv.weight", "head.0.weight"):
        assert model.get_parameter(name).grad.abs().sum() > 0, name
    assert not model.encoder.patch_embed._forward_hooks


def test_an_unmasked_pass_is_the_encoder_itself(model, images):
    visible = torch.zeros(3, 4, 4, dtype=torch.bool)
    with torch.no_grad():
        tokens = model.encoder.forward_features(images)[:, 1:]
        expected = model.head(tokens.transpose(1, 2).unflatten(2, (4, 4)))
        assert torch.equal(model.reconstruct(images, visible), expected)
        assert model(images, visible).item() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_patches_become_the_mask_token_before_the_first_block(make_config, family):
    torch.manual_seed(0)
    model = SimMIM(make_config(**FAMILIES[family]), []).eval()
    seen = {}
    model.encoder.patch_embed.register_forward_hook(lambda m, inputs, out: seen.update(plain=out))
    first = model.encoder.layers if hasattr(model.encoder, "layers") else model.encoder.pos_drop
    first.register_forward_pre_hook(lambda m, inputs: seen.update(hidden=inputs[0]))
    mask = torch.from_numpy(np.random.default_rng(0).random((2, *model.grid)) < 0.5)
    with torch.no_grad():
        model.predict(torch.randn(2, 3, 32, 32), mask)
    prefix = getattr(model.encoder, "num_prefix_tokens", 0) * (seen["hidden"].ndim == 3)
    hidden = seen["hidden"][:, prefix:] if prefix else seen["hidden"]
    if getattr(model.encoder, "pos_embed", None) is not None:
        hidden = hidden - model.encoder.pos_embed[:, prefix:]
    flat, width = mask.flatten(), model.mask_token.shape[2]
    hidden, plain = hidden.reshape(-1, width), seen["plain"].reshape(-1, width)
    token = model.mask_token.view(1, -1)
    torch.testing.assert_close(hidden[flat], token.expand(int(flat.sum()), -1))
    torch.testing.assert_close(hidden[~flat], plain[~flat])


def test_an_oblong_input_is_reconstructed(make_config):
    model = SimMIM(make_config(input_width=64), []).eval()
    images = torch.randn(2, 3, 32, 64)
    mask = torch.stack([model.sample(0, np.random.default_rng(n)) for n in range(2)])
    assert mask.shape == (2, 4, 8)
    assert model.reconstruct(images, mask).shape == images.shape
    assert model(images, mask).isfinite()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mask_patch": 12}, "mask patch 12 px is not a multiple of the model's patch 8 x 8 px"),
        ({"mask_patch": 24}, "an input of 32 px does not divide into mask patches of 24 px"),
        ({"mask_ratio": 0.9}, "a mask ratio of 0.9 hides all 4 mask patches; choose a lower"),
        ({"target_scale": 3}, "a target at 1/3 of the input does not fit patches of 8 px"),
        ({"target_scale": 32}, "is coarser than mask patches of 16 px allow; choose a mask_patch"),
        ({**FAMILIES["swin"], "input_size": 18, "mask_patch": 2},
         "an input of 18 px does not divide into places of 4 px, as the model's last stage"),
        ({"arch_args": {**FAMILIES["vit"]["arch_args"], "patch_size": (8, 4)}},
         "patches of 8 x 4 px are not square"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(make_config, changes, told):
    with pytest.raises(OptionError, match=told):
        SimMIM(make_config(**changes), [])


def test_an_unknown_mask_is_refused(make_config):
    with pytest.raises(UnknownNameError, match="unknown mask 'rndom'; did you mean 'random'"):
        SimMIM(make_config(mask="rndom"), [])
