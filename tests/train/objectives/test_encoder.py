"""Encoders: built as the originals are, of any size, and whole in the file that comes out."""

import pytest
import torch
from encoders import FAMILIES, PLAIN

from mimprobe.errors import CheckpointError, OptionError, UnknownNameError
from mimprobe.train.checkpoint import export_weights
from mimprobe.train.objectives import SimMIM, Supervised
from mimprobe.train.objectives.encoder import build_encoder, feature_map, output_stride
from mimprobe.zoo.load import load_model


@pytest.mark.parametrize(
    ("arch", "size", "millions"),
    [("simmim_vit_base", 224, 86.26), ("simmim_swin_base_100ep", 192, 89.87)],
)
def test_parameters_of_the_originals_with_their_heads(make_config, arch, size, millions):
    with torch.device("meta"):
        model = SimMIM(make_config(arch=arch, arch_args={}, input_size=size, mask_patch=32), [])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sides", [(32, 32), (16, 48)])
def test_features_stand_where_their_patches_do(make_config, family, sides):
    """A changed patch changes the features of the place above it, whatever the family's layout."""
    config = make_config(**FAMILIES[family], input_size=sides[0], input_width=sides[1])
    torch.manual_seed(0)
    encoder = build_encoder(config, 0).eval()
    stride = output_stride(encoder)
    images = torch.randn(1, 3, *sides)
    changed = images.clone()
    changed[:, :, stride : 2 * stride, :stride] += 100
    with torch.no_grad():
        before, after = feature_map(encoder, images), feature_map(encoder, changed)
    assert before.shape[2:] == (sides[0] // stride, sides[1] // stride)
    moved = (after - before).norm(dim=1)[0]
    assert divmod(int(moved.argmax()), moved.shape[1]) == (1, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_drop_path_is_that_of_the_run_and_none_by_default(make_config, family):
    def rates(**changes):
        encoder = build_encoder(make_config(**{**FAMILIES[family], **changes}), 0)
        return [m.drop_prob for m in encoder.modules() if type(m).__name__ == "DropPath"]

    assert max(rates(drop_path=0.3)) == pytest.approx(0.3)
    assert not any(rates(drop_path=0.0))


def test_the_original_vit_shares_its_positions_and_scales_its_layers(make_config):
    encoder = build_encoder(make_config(**FAMILIES["beit"]), 0)
    names = {name for name, _ in encoder.named_parameters()}
    assert "rel_pos_bias.relative_position_bias_table" in names
    assert {"blocks.1.gamma_1", "norm.weight"} <= names
    assert not {"pos_embed", "fc_norm.weight"} & names
    assert encoder.blocks[0].gamma_1.unique().item() == pytest.approx(0.1)


@pytest.mark.parametrize("window", [3, 4, 7])
def test_windows_need_not_divide_the_map(make_config, window):
    for family in ("swin", "swinv2"):
        settings = FAMILIES[family]
        arguments = {**settings["arch_args"], "window_size": window}
        encoder = build_encoder(make_config(arch=settings["arch"], arch_args=arguments), 0)
        assert encoder.layers[0].blocks[0].window_size == (window, window)
        assert feature_map(encoder, torch.zeros(1, 3, 32, 32)).shape == (1, 32, 8, 8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", ["simmim", "supervised"])
@pytest.mark.parametrize("width", [0, 64])
def test_the_weights_of_a_run_load_at_once(make_config, tmp_path, family, objective, width):
    classes = [] if objective == "simmim" else ["cats", "dogs", "owls"]
    config = make_config(objective, **FAMILIES[family], input_width=width)
    torch.manual_seed(0)
    model = (SimMIM if objective == "simmim" else Supervised)(config, classes).eval()
    path = tmp_path / "model.safetensors"
    export_weights(path, model, config, facts={}, classes=classes)
    loaded = load_model(path, device="cpu")
    assert loaded.preprocessing.input_size == (32, width or 32)
    assert not loaded.load_report.missing
    images = torch.randn(2, 3, 32, width or 32)
    with torch.no_grad():
        expected = feature_map(model.encoder, images)
        assert torch.equal(feature_map(loaded.module, images), expected)
        if classes:
            assert torch.equal(loaded.module(images), model.encoder(images))
            assert loaded.module(images).shape == (2, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_of_an_encoder_is_trained(make_config, family):
    """One without gradient would stop distributed training, and be stored untrained."""
    model = SimMIM(make_config(**FAMILIES[family], drop_path=0.0), [])
    mask = torch.zeros(2, *model.grid, dtype=torch.bool)
    mask[:, : model.cell] = True
    model(torch.randn(2, 3, 32, 32), mask).backward()
    untouched = {name for name, p in model.named_parameters() if p.grad is None}
    assert untouched == set()


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"arch": "convnext_tiny", "arch_args": {}}, OptionError,
         "timm cannot build|is a ConvNeXt; the trainer takes timm's plain ViT, BEiT"),
        ({"arch": "simmim_vit_bas"}, UnknownNameError, "unknown timm model 'simmim_vit_bas'"),
        ({"input_size": 36}, OptionError,
         "an input of 36 px does not divide into patches of 8 x 8 px; choose a multiple"),
        ({"input_width": 36}, OptionError, "an input of 32 x 36 px does not divide into patches"),
        ({"arch_args": {**PLAIN, "depht": 2}}, CheckpointError, "timm cannot build vit_tiny"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(make_config, changes, error, told):
    with pytest.raises((error, CheckpointError), match=told):
        build_encoder(make_config(**changes), 0)
