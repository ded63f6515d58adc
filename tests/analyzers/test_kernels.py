"""The analyzer of kernels: what it reads, when it is left out, what reports show of it."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

import mimprobe
from mimprobe.analyzers import Kernels
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import NonFiniteError
from mimprobe.measures.kernels import kernel_distance
from mimprobe.models.sites import layout
from mimprobe.tables import CHANNEL_COLUMNS, read_result

PREPARE = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0).transform()


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {
        "large": timm.create_model(
            "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 12, 12), kernel_sizes=(9, 9, 5, 3)
        ),
        "vit": timm.create_model("test_vit", img_size=32),
    }


@pytest.fixture(scope="module")
def pictures():
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(5)]


def begun(networks):
    tool = Kernels()
    tool.begin({name: layout(model) for name, model in networks.items()}, 7)
    return tool


def test_table(networks):
    table = begun(networks).table({"large": "mim", "vit": "other"})
    assert tuple(table.columns) == CHANNEL_COLUMNS == Kernels().columns
    assert set(table["model"]) == {"large"}
    assert len(table) == 3 * (8 + 8 + 12 + 12)
    assert (table["n"] == 0).all()
    assert table[["std", "se"]].isna().all().all()
    assert set(table["note"]) == {"a property of the weights, not of images"}
    third = table.query("metric == 'kernel_distance' and layer == 2")
    weight = networks["large"].stages[2].blocks[0].conv_dw.weight[:, 0]
    np.testing.assert_array_equal(third["channel"], np.arange(12))
    np.testing.assert_allclose(third["value"], kernel_distance(weight, (16, 16)))
    assert dict(zip(table["metric"], table["unit"], strict=True)) == Kernels.units


def test_it_looks_at_no_site_and_no_image_changes_it(networks):
    tool = begun(networks)
    before = tool.table({"large": "mim", "vit": "other"})
    assert tool.sites(layout(networks["large"])) == ()
    tool.add([0, 1], {"large": {}, "vit": {}})
    other = begun(networks)
    other.merge(tool)
    empty = Kernels()
    empty.merge(tool)
    restored = begun(networks)
    restored.restore(tool.state())
    for same in (tool, other, empty, restored):
        pd.testing.assert_frame_equal(same.table({"large": "mim", "vit": "other"}), before)


def test_nan_in_a_kernel_is_told_with_its_place(networks):
    model = timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))
    model.stages[1].blocks[0].conv_dw.weight.data[3, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"'bad' has NaN .* 'conv_dw' at stages\.1\.blocks\.0"):
        begun({"bad": model})


def test_the_table_is_there_where_a_model_has_kernels(networks, pictures, tmp_path):
    result = mimprobe.probe(networks, pictures, transform=PREPARE, device="cpu")
    assert list(result)[-1] == "kernels"
    assert len(result["cka"].query("model == 'large' and other_model == 'vit'")) > 0
    page = mimprobe.write_report(result, tmp_path / "out").read_text()
    assert "Kernels of large convolutions" in page
    assert "No depth-wise convolutions: vit." in page
    assert {path.name for path in (tmp_path / "out/figures").glob("kernel*.png")} == {
        "kernel_distance.png", "kernel_entropy_normalised.png",
    }  # fmt: skip
    again = read_result(tmp_path / "out")["kernels"]
    pd.testing.assert_frame_equal(again, result["kernels"], check_dtype=False)


def test_it_is_left_out_where_nobody_asked_and_none_has_any(networks, pictures, tmp_path):
    one = {"vit": networks["vit"]}
    usual = mimprobe.probe(one, pictures, transform=PREPARE, device="cpu")
    assert "kernels" not in usual
    assert "kernels" not in usual.manifest["analyzers"]
    asked = mimprobe.probe(one, pictures, transform=PREPARE, analyzers=["kernels"], device="cpu")
    assert asked["kernels"].empty
    page = mimprobe.write_report(asked, tmp_path / "out").read_text()
    assert "No depth-wise convolutions: vit." in page
