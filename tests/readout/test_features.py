"""Features of real networks: equal to what the hooks see, whatever batches and budget."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from mimprobe.data.images import open_images
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import ImageError, NonFiniteError, OptionError, UnknownNameError
from mimprobe.hooks import capture
from mimprobe.readout.features import layer_features, layer_tokens
from mimprobe.readout.labels import labels_of
from mimprobe.stream.rows import FeatureRows
from mimprobe.zoo.lineup import line_up

SITES = ["blocks.0.out", "blocks.1.out"]
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
PREPARE = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0, "squash").transform()


def loaded(name="vit_tiny_patch16_224", **arguments):
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=0, **(arguments or SMALL))
    (model,) = line_up({"m": module}, transform=PREPARE, kinds={},
                       device=torch.device("cpu"), seed=0)  # fmt: skip
    return model


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(7):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return tmp_path


@pytest.mark.parametrize(("batch_size", "budget"), [(7, 1 << 20), (3, 0)])
def test_features_are_those_of_the_hooks(folder, batch_size, budget):
    model, images = loaded(), open_images(folder)
    found = layer_features(
        model, images, SITES, poolings=("mean", "cls", "both"), batch_size=batch_size,
        device="cpu", budget_bytes=budget,
    )  # fmt: skip
    assert list(found) == [(site, pool) for site in SITES for pool in ("mean", "cls", "both")]
    pixels = torch.stack([PREPARE(image) for image in images])
    model.module.eval()
    with torch.no_grad(), capture(model.module, SITES) as seen:
        model.module(pixels)
    for site in SITES:
        tokens = seen[site].tokens
        mean, first = tokens[:, 1:].double().mean(1).float(), tokens[:, 0]
        torch.testing.assert_close(found[site, "mean"], mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[site, "cls"], first, rtol=1e-5, atol=1e-6)
        both = torch.cat([found[site, "mean"], found[site, "cls"]], 1)
        assert torch.equal(found[site, "both"], both)
    patches = layer_tokens(model, images, SITES[1], batch_size=batch_size, device="cpu")
    torch.testing.assert_close(patches, seen[SITES[1]].tokens[:, 1:], rtol=1e-5, atol=1e-6)


def test_features_beyond_the_budget_are_mapped_from_disk_and_equal(folder, monkeypatch):
    model, images, state, on_disk = loaded(), open_images(folder), FeatureRows.state, []

    def told(rows):
        on_disk.append((rows.on_disk, isinstance(state(rows), np.memmap)))
        return state(rows)

    monkeypatch.setattr(FeatureRows, "state", told)
    needed = len(images) * len(SITES) * 4 * 24
    here, there = (
        layer_features(model, images, SITES, device="cpu", budget_bytes=budget)
        for budget in (needed, needed - 1)
    )
    assert on_disk == [(False, False)] * 2 + [(True, True)] * 2
    for key, values in here.items():
        assert torch.equal(values, there[key])


def test_skipped_images_have_neither_row_nor_label(folder):
    (folder / "a" / "4.png").write_bytes(b"damaged")
    images = open_images(folder, skip_bad_images=True)
    found = layer_features(loaded(), images, SITES[:1], device="cpu")[SITES[0], "mean"]
    labels, truth, classes = labels_of(images, open_images(folder))
    assert found.shape == (6, 24)
    assert classes == ("a", "b")
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(truth) == 7


def test_what_cannot_be_had_is_told_in_one_line(folder):
    images = open_images(folder)
    with pytest.raises(UnknownNameError, match="unknown pooling 'avg'"):
        layer_features(loaded(), images, SITES, poolings=("avg",), device="cpu")
    swin = loaded("swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=24,
                  depths=(1, 1), num_heads=(2, 2))  # fmt: skip
    with pytest.raises(OptionError, match="needs a class token, and m has none; use 'mean'"):
        layer_features(swin, images, ["stages.0.blocks.0.out"], poolings=("cls",), device="cpu")
    broken = loaded()
    with torch.no_grad():
        broken.module.blocks[1].mlp.fc2.bias[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"at blocks.1.out on image 'a/0.png'"):
        layer_features(broken, images, SITES, device="cpu")


def test_a_set_without_readable_images_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"damaged")
    images = open_images(tmp_path, skip_bad_images=True)
    with pytest.raises(ImageError, match="none of the 1 images"):
        layer_features(loaded(), images, SITES, device="cpu")
