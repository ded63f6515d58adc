"""SimMIM against its definition: what is hidden, what is predicted, what counts."""

import pytest
import torch

from mimprobe.errors import OptionError
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


def test_loss_is_the_definition(model, images):
    mask = masks([(0, 0)], [(0, 1), (1, 0)], [(1, 1)])
    with torch.no_grad():
        predicted = model.reconstruct(images, mask)
        loss = model(images, mask)
    total, count = 0.0, 0
    for b in range(3):
        for y in range(32):
            for x in range(32):
                if mask[b, y // 8, x // 8]:
                    total += (images[b, :, y, x] - predicted[b, :, y, x]).abs().sum().item()
                    count += 1
    assert loss.item() == pytest.approx(total / (count + 1e-5) / 3, rel=1e-5)


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


def test_a_mask_patch_that_does_not_fit_is_refused(make_config):
    with pytest.raises(OptionError, match="mask patch 12 px is not a multiple"):
        SimMIM(make_config(mask_patch=12), [])
    with pytest.raises(OptionError, match="does not divide into mask patches of 24 px"):
        SimMIM(make_config(mask_patch=24), [])
