"""Decoders behind encoders: against plain implementations, and what is refused."""

import warnings

import numpy as np
import pytest
import torch
from experiments.painted_files import mae, simmim_swin, simmim_vit
from zoo.sources.made_files import images, load, numbers, write, write_microsoft
from zoo.sources.swin_formats import Sizes, swin
from zoo.sources.vit_formats import beit, mae_decoder, simmim, vit

from mimprobe.errors import CheckpointError, OptionError
from mimprobe.experiments.painters import MAEPainter, SimMIMPainter, painter_of
from mimprobe.zoo.load import load_model

BEIT = beit(width=12, depth=2, heads=3, grid=3, patch=4, hidden=16, mask_token=True)
MAE = vit(width=192, depth=2, grid=3, patch=4, hidden=64) | mae_decoder(
    encoder=192, width=64, depth=2, grid=3, patch=4, hidden=96
)
SWIN = Sizes(width=8, heads=(1, 2), window=2, side=16, depths=(1, 2), hidden=2)


def made(path, shapes, **changes):
    state = {**numbers(shapes), **changes}
    return state, load(write(path, {"model": state}))


def masks(*shape, seed=0):
    mask = np.random.default_rng(seed).random(shape) < 0.5
    assert mask.any((1, 2)).all()
    assert not mask.all((1, 2)).any()
    return torch.from_numpy(mask)


def painted(painter, x, mask):
    with torch.no_grad():
        return painter.double().eval()(x, mask)


def test_simmim_vit_paints_as_the_paper_says(tmp_path):
    state = numbers(simmim(BEIT, features=12, stride=4))
    loaded = load(write_microsoft(tmp_path / "simmim.pth", state))
    painter = painter_of(loaded)
    assert isinstance(painter, SimMIMPainter)
    assert painter.grid == (3, 3)
    x, mask = images(12), masks(2, 3, 3)
    expected = simmim_vit(state, x, mask, heads=3, stride=4)
    assert expected.std() > 0.1
    torch.testing.assert_close(painted(painter, x, mask), expected, rtol=1e-5, atol=1e-5)
    assert not loaded.module.patch_embed._forward_hooks


def test_simmim_swin_paints_as_the_paper_says(tmp_path):
    state, loaded = made(
        tmp_path / "swin.pth", simmim(swin(SWIN, mask_token=True), features=16, stride=8)
    )
    x, mask = images(16), masks(2, 4, 4)
    found = painted(painter_of(loaded), x, mask)
    expected = simmim_swin(state, x, mask, heads=(1, 2), window=2, stride=8)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "norm_pix"), [("visualize", False), ("pretrain_full", True)])
def test_mae_paints_as_the_paper_says(tmp_path, name, norm_pix):
    """The name of the file tells what it predicts; images may hide different numbers of patches."""
    state, loaded = made(tmp_path / f"mae_{name}.pth", MAE)
    painter = painter_of(loaded)
    assert isinstance(painter, MAEPainter)
    assert painter.norm_pix == norm_pix
    x, mask = images(12), masks(2, 3, 3, seed=1)
    assert mask[0].sum() != mask[1].sum()
    expected = torch.stack(
        [mae(state, *pair, heads=3, decoder_heads=2, norm_pix=norm_pix)
         for pair in zip(x, mask, strict=True)]
    )  # fmt: skip
    assert expected.std() > 0.1
    torch.testing.assert_close(painted(painter, x, mask), expected, rtol=1e-5, atol=1e-5)


def test_mae_cannot_see_hidden_pixels_but_for_their_mean_and_deviation(tmp_path):
    _, loaded = made(tmp_path / "mae.pth", MAE)
    x, mask = images(12, 1), masks(1, 3, 3)
    hidden = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    reversed_patches = x.unflatten(3, (3, 4)).flip(4).flatten(3)
    other = torch.where(hidden, reversed_patches, x)
    for norm_pix in (True, False):
        painter = painter_of(loaded, norm_pix=norm_pix)
        torch.testing.assert_close(painted(painter, x, mask), painted(painter, other, mask))
    brighter = torch.where(hidden, x + 1, x)
    same = painted(painter_of(loaded, norm_pix=False), brighter, mask)
    moved = painted(painter_of(loaded, norm_pix=True), brighter, mask)
    torch.testing.assert_close(same, painted(painter_of(loaded, norm_pix=False), x, mask))
    before = painted(painter_of(loaded, norm_pix=True), x, mask)
    torch.testing.assert_close(moved, torch.where(hidden, before + 1, before))


def test_the_bundled_model_paints_with_its_own_head():
    painter = painter_of(load("simmim-tiny40"))
    assert (painter.grid, painter.mask_patch, painter.mask_ratio) == ((8, 8), 16, 0.6)
    x, mask = images(64, 1).float(), masks(1, 8, 8)
    with torch.no_grad():
        found = painter.eval()(x, mask)
        expected = painter.objective.reconstruct(x, mask)
    assert torch.equal(found, expected)
    assert not torch.equal(found, painter.eval()(x, ~mask))


def test_an_own_model_at_another_input_size(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        painter = painter_of(load_model("simmim-tiny40", input_size=96, device="cpu"))
    assert painter.grid == (12, 12)
    with torch.no_grad():
        assert painter(torch.zeros(1, 3, 96, 96), masks(1, 12, 12)).shape == (1, 3, 96, 96)


@pytest.mark.parametrize(
    "shapes",
    [
        beit(width=12, depth=1, heads=3, grid=3, patch=4, hidden=16),
        vit(width=192, depth=1, grid=3, patch=4),
    ],
    ids=["BEiT", "ViT"],
)
def test_a_file_without_decoder_is_refused(tmp_path, shapes):
    _, loaded = made(tmp_path / "plain.pth", shapes)
    with pytest.raises(CheckpointError, match=r"plain\.pth has no decoder that predicts pixels"):
        painter_of(loaded)


def test_supervised_and_untrained_models_are_refused():
    for name in ("supervised-tiny40", "random:simmim-tiny40"):
        with pytest.raises(CheckpointError, match=f"{name} has no decoder"):
            painter_of(load(name))


def test_an_mae_file_whose_name_does_not_tell_is_asked_about(tmp_path):
    _, loaded = made(tmp_path / "mine.pth", MAE)
    with pytest.raises(OptionError, match=r"mine\.pth does not say .* --norm-pix"):
        painter_of(loaded)


def test_mae_has_a_fixed_size(tmp_path):
    path = write(tmp_path / "mae_full.pth", {"model": numbers(MAE)})
    with pytest.raises(OptionError, match="9 fixed places, but .* 4 x 4 patches; leave out"):
        painter_of(load(path, input_size=16))


@pytest.mark.parametrize(
    "missing", ["decoder_norm.bias", "decoder_embed.weight", "decoder_blocks.1.mlp.fc2.weight"]
)
def test_a_damaged_decoder_is_refused_in_one_line(tmp_path, missing):
    state = numbers(MAE)
    del state[missing]
    loaded = load(write(tmp_path / "mae_full.pth", {"model": state}))
    with pytest.raises(CheckpointError, match="the decoder in .* does not fit") as caught:
        painter_of(loaded)
    assert "\n" not in str(caught.value)
