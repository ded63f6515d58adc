"""`probe` as users call it: what goes in, what comes out, and what it says when it cannot."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms import v2

import mimprobe
from mimprobe.analyzers import Cka
from mimprobe.errors import ImageError, NonFiniteError, OptionError, UnknownNameError
from mimprobe.tables import CURVE_COLUMNS, HEAD_COLUMNS, read_result

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def prepare(size):
    return v2.Compose(
        [v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )


@pytest.fixture
def pictures():
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (40, 30, 3), dtype=np.uint8)) for _ in range(7)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **TINY)


@pytest.fixture
def folder(pictures, tmp_path):
    place = tmp_path / "photos"
    place.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(place / f"{number}.png")
    return place


def test_a_module_in_memory_with_a_transform(network, pictures):
    """The first thing that people try in a notebook."""
    result = mimprobe.probe({"mine": network}, pictures, transform=prepare(32), device="cpu")
    assert set(result) == set(mimprobe.ANALYZERS) - {"kernels", "mutual_neighbours"}
    assert (result["attention_distance"]["n"] == 7).all()
    assert len(result["head_kl"]) == 2 * (3 + 1)
    assert "mine" in result._repr_html_()
    assert result.manifest["models"][0]["preprocessing"] == "the user's own transform"


def test_folder_paths_and_pictures_give_the_same_numbers(network, pictures, folder):
    paths = sorted(folder.iterdir())
    dataset = [(picture, f"p{number}") for number, picture in enumerate(pictures)]
    tables = [
        mimprobe.probe({"m": network}, source, transform=prepare(32), device="cpu")["cka"]
        for source in (folder, paths, pictures, dataset)
    ]
    for table in tables[1:]:
        np.testing.assert_array_equal(tables[0]["value"], table["value"])


def test_each_model_gets_its_own_preprocessing_of_the_same_images(pictures):
    models = ["random:vit_tiny_patch16_224", "random:resnet18"]
    result = mimprobe.probe(models, pictures[:4], device="cpu", batch_size=3)
    by_name = {model["name"]: model for model in result.manifest["models"]}
    means = [by_name[name]["preprocessing"]["mean"][0] for name in models]
    assert means == [0.5, 0.485]
    assert set(result["attention_distance"]["model"]) == {models[0]}
    assert not by_name[models[1]]["attention"]
    between = result["cka"].query("model == @models[0] and other_model == @models[1]")
    assert len(between) == 12 * 8
    assert (result["cka"]["n"] == 4).all()


def test_batch_size_changes_no_number(network, pictures):
    results = [
        mimprobe.probe(
            {"m": network}, pictures, transform=prepare(32), batch_size=size, device="cpu"
        )
        for size in (1, 3, 7)
    ]
    for result in results[1:]:
        for name, table in result.items():
            np.testing.assert_allclose(
                table["value"].to_numpy(float), results[0][name]["value"].to_numpy(float), rtol=2e-5
            )


def test_the_model_is_left_as_it_was(network, pictures):
    network.train()
    network.blocks[1].eval()
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    mimprobe.probe({"m": network}, pictures, transform=prepare(32), device="cpu")
    assert modes == [module.training for module in network.modules()]
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert all(block.attn.fused_attn for block in network.blocks)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_written_and_read_back(network, folder, tmp_path):
    result = mimprobe.probe({"m": network}, folder, transform=prepare(32), device="cpu", seed=3)
    out = result.write(tmp_path / "out")
    again = read_result(out)
    for name, table in result.items():
        for column in table:
            np.testing.assert_array_equal(
                table[column].astype(object).where(table[column].notna(), None),
                again[name][column].astype(object).where(again[name][column].notna(), None),
            )
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["images"]["n"] == 7
    assert len(manifest["models"][0]["sha256"]) == 64
    np.testing.assert_array_equal(again.per_image.values, result.per_image.values)
    columns = again.per_image.columns
    by_image = [
        table[table["at"].isna()] if "at" in table else table
        for name, table in result.items()
        if tuple(table.columns) in (HEAD_COLUMNS, CURVE_COLUMNS) and name != "effective_rank"
    ]
    assert len(columns) == sum(map(len, by_image))
    assert set(columns["metric"]) >= {"head_kl", "prefix_mass"}


def test_too_few_images_leave_analyzers_out_and_say_so(network, pictures):
    result = mimprobe.probe({"m": network}, pictures[:1], transform=prepare(32), device="cpu")
    assert "cka" not in result
    assert result.manifest["notes"] == [
        "Left out, with too few images (1): cka needs 4, mutual_neighbours needs 12, "
        "effective_rank needs 4."
    ]
    assert result["head_kl"]["se"].isna().all()
    with pytest.raises(OptionError, match="cka needs at least 4 images, here are 1"):
        mimprobe.probe(
            {"m": network}, pictures[:1], transform=prepare(32), analyzers=["cka"], device="cpu"
        )
    with pytest.raises(OptionError, match="mutual_neighbours needs at least 12 images, here are 7"):
        mimprobe.probe(
            {"m": network}, pictures, transform=prepare(32), analyzers=["mutual_neighbours"],
            device="cpu",
        )  # fmt: skip


def test_settings_stand_in_for_the_analyzer_of_the_same_name(network, pictures):
    own = Cka(tokens="flattened", batch=4)
    result = mimprobe.probe(
        {"m": network}, pictures, transform=prepare(32), settings=[own], device="cpu"
    )
    described = result.manifest["analyzers"]["cka"]
    assert (described["tokens"], described["batch"]) == ("flattened", 4)
    assert described["images_left_out"] == 3
    assert (result["cka"]["n"] == 4).all()
    assert "head_kl" in result


def test_bad_images_are_skipped_for_all_models_and_recorded(network, folder):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    models = {"a": network, "b": timm.create_model("vit_tiny_patch16_224", **TINY)}
    with pytest.raises(ImageError, match=r"3\.png"):
        mimprobe.probe(models, folder, transform=prepare(32), device="cpu")
    for workers in (0, 2):
        result = mimprobe.probe(
            models, folder, transform=prepare(32), skip_bad_images=True, batch_size=2,
            device="cpu", workers=workers,
        )  # fmt: skip
        assert (result["attention_distance"]["n"] == 6).all()
        assert result.per_image.images == tuple(f"{n}.png" for n in (0, 1, 2, 4, 5, 6))
        assert [entry["image"] for entry in result.manifest["images"]["skipped"]] == ["3.png"]


def test_when_all_images_are_bad(network, folder):
    for path in folder.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(ImageError, match="none of the 7 images"):
        mimprobe.probe(
            {"m": network}, folder, transform=prepare(32), skip_bad_images=True, device="cpu"
        )


def test_nan_names_model_layer_and_image(network, pictures):
    def poisoned(image):
        pixels = prepare(32)(image)
        return pixels * torch.nan if image is pictures[5] or image == pictures[5] else pixels

    with pytest.raises(NonFiniteError, match=(
        r"^model 'm' gave NaN or infinity in the attention at blocks\.0\.attn\.probs on image '"
    )) as caught:  # fmt: skip
        mimprobe.probe({"m": network}, pictures, transform=poisoned, batch_size=4, device="cpu")
    assert "5" in str(caught.value)
    with pytest.raises(NonFiniteError, match=r"in the features at blocks\.0\.out on image"):
        mimprobe.probe(
            {"m": network}, pictures, transform=poisoned, analyzers=["cka"], device="cpu"
        )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_agrees(network, pictures, precision):
    full, half = (
        mimprobe.probe(
            {"m": network}, pictures, transform=prepare(32), precision=p, device="cpu",
            analyzers=["attention_distance", "attention_entropy", "prefix_mass"],
        )
        for p in ("float32", precision)
    )  # fmt: skip
    for name, table in full.items():
        np.testing.assert_allclose(
            half[name]["value"].to_numpy(float), table["value"].to_numpy(float), rtol=2e-2
        )


def test_bad_arguments(network, pictures):
    for arguments, error, told in (
        ({"batch_size": 0}, OptionError, "batch_size must be at least 1"),
        ({"analyzers": ["head_lk"]}, UnknownNameError, "did you mean 'head_kl'"),
        ({"device": "tpu"}, UnknownNameError, "unknown device 'tpu'"),
        ({"precision": "double"}, UnknownNameError, "unknown precision 'double'"),
        ({"kinds": {"x": "mim"}}, UnknownNameError, "unknown model 'x'"),
        ({"transform": lambda image: image}, OptionError, "the transform of model 'm' gave Image"),
    ):
        with pytest.raises(error, match=told):
            mimprobe.probe(
                {"m": network}, pictures, **{"transform": prepare(32), "device": "cpu"} | arguments
            )


def test_the_seed_chooses_images(network, folder):
    def chosen(seed):
        result = mimprobe.probe(
            {"m": network}, folder, transform=prepare(32), limit=4, seed=seed, device="cpu"
        )
        return result.per_image.images

    assert chosen(0) == chosen(0)
    assert len({chosen(seed) for seed in range(8)}) > 1
    assert len(chosen(0)) == 4


def test_a_network_that_is_moved_can_be_trained_afterwards(network, pictures, monkeypatch):
    # Between devices `to` makes new tensors; here a copy stands for that.
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_: self._apply(torch.clone))
    mimprobe.probe({"mine": network}, pictures, transform=prepare(32), device="cpu")
    assert not any(tensor.is_inference() for tensor in network.state_dict(keep_vars=True).values())
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    assert network.patch_embed.proj.weight.grad is not None
