"""Checkpoints of transformers: made here, saved in its own format, and loaded back."""

import json
import sys

import pytest
import safetensors.torch
import torch

from mimprobe.errors import CheckpointError
from mimprobe.hooks import capture
from mimprobe.models.sites import layout
from mimprobe.zoo.huggingface import ENCODERS, load_huggingface

transformers = pytest.importorskip("transformers", reason="needs mimprobe[hf]")

PLAIN = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 32,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
STAGED = {
    "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 4],
    "window_size": 4,
}  # fmt: skip
DECODER = {
    "decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 16,
}  # fmt: skip
CHECKPOINTS = {
    "ViTForImageClassification": ("ViTConfig", PLAIN, "supervised", {"classifier"}),
    "ViTModel": ("ViTConfig", PLAIN, "other", {"pooler"}),
    "ViTForMaskedImageModeling": ("ViTConfig", PLAIN, "mim", {"decoder", "mask_token"}),
    "DeiTForImageClassificationWithTeacher": (
        "DeiTConfig", PLAIN, "distilled", {"cls_classifier", "distillation_classifier"},
    ),
    "BeitForMaskedImageModeling": (
        "BeitConfig",
        PLAIN | {
            "use_shared_relative_position_bias": True, "vocab_size": 16, "use_mask_token": True,
        },
        "mim", {"layernorm", "lm_head"},
    ),
    "BeitForImageClassification": (
        "BeitConfig", PLAIN | {"use_relative_position_bias": True}, "supervised",
        {"classifier", "pooler"},
    ),
    "Data2VecVisionModel": (
        "Data2VecVisionConfig", PLAIN | {"use_relative_position_bias": True}, "mim", set(),
    ),
    "ViTMAEForPreTraining": ("ViTMAEConfig", PLAIN | DECODER, "mim", {"decoder"}),
    "Dinov2Model": ("Dinov2Config", PLAIN, "contrastive", set()),
    "Dinov2WithRegistersForImageClassification": (
        "Dinov2WithRegistersConfig", PLAIN | {"num_register_tokens": 2}, "supervised",
        {"classifier"},
    ),
    "SwinForMaskedImageModeling": ("SwinConfig", STAGED, "mim", {"decoder", "mask_token"}),
    "Swinv2ForImageClassification": ("Swinv2Config", STAGED, "supervised", {"classifier"}),
}  # fmt: skip


def make(folder, kind, **changes):
    """Save a small network and an image processor for it; give the network."""
    config, arguments, _, _ = CHECKPOINTS[kind]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**arguments | changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    """A good checkpoint, to be damaged."""
    make(tmp_path, "ViTForImageClassification")
    return tmp_path


def seen_in(model):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        model(images)
        return {
            name: value.attention if name.endswith("probs") else value.tokens
            for name, value in seen.items()
        }


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_the_encoder_of_every_family(tmp_path, capfd, kind):
    original = make(tmp_path, kind)
    capfd.readouterr()
    loaded = load_huggingface(str(tmp_path))
    assert capfd.readouterr() == ("", "")  # ours is the report
    _, arguments, training, dropped = CHECKPOINTS[kind]
    assert loaded.kind == training
    assert loaded.architecture in ENCODERS.values()
    assert type(loaded.module).__name__ == loaded.architecture
    assert loaded.heads == ((2, 4, 4) if arguments is STAGED else (3, 3))
    assert not loaded.module.training
    assert loaded.preprocessing.input_size == (32, 32)
    assert loaded.weights == (tmp_path / "model.safetensors",)
    report = loaded.report
    ends = {key.removeprefix("embeddings.").removeprefix(original.base_model_prefix + ".")
            .removeprefix("embeddings.").split(".")[0] for key in report.dropped}  # fmt: skip
    assert ends == dropped
    assert all(report.dropped.values())
    assert not report.missing
    assert len(report.matched) == len(loaded.module.state_dict())
    expected, found = seen_in(original), seen_in(loaded.module)
    assert expected.keys() == found.keys()
    for site, value in expected.items():
        torch.testing.assert_close(found[site], value, rtol=1e-4, atol=1e-5)


def test_shards_and_half_precision(tmp_path):
    original = make(tmp_path, "ViTModel").half()
    (tmp_path / "model.safetensors").unlink()
    original.save_pretrained(tmp_path, max_shard_size="20KB")
    loaded = load_huggingface(str(tmp_path))
    assert len(loaded.weights) > 1
    assert {value.dtype for value in loaded.module.state_dict().values()} == {torch.float32}
    expected, found = seen_in(original.float()), seen_in(loaded.module)
    torch.testing.assert_close(found["blocks.1.out"], expected["blocks.1.out"])


def test_from_the_hub(folder, monkeypatch):
    asked = []

    def snapshot_download(repository, **options):
        asked.append((repository, options["revision"], options["allow_patterns"]))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert load_huggingface("hf:facebook/some-vit").kind == "supervised"
    load_huggingface("facebook/some-vit@v2")
    assert [entry[:2] for entry in asked] == [
        ("facebook/some-vit", None), ("facebook/some-vit", "v2"),
    ]  # fmt: skip
    assert all(pattern.endswith(("json", "safetensors")) for pattern in asked[0][2])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("facebook/dino-vits16", "contrastive"),
        ("google/vit-base-patch16-224-in21k", "supervised"),
        ("somebody/undinosaur-vit", "other"),
    ],
)
def test_a_kind_that_only_the_name_tells_is_said_to_be_assumed(tmp_path, monkeypatch, name, kind):
    make(tmp_path, "ViTModel")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    loaded = load_huggingface(name)
    assert loaded.kind == kind
    assert len(loaded.report.assumed) == (kind != "other")


def test_a_processor_in_the_format_of_old_checkpoints(folder):
    old = {
        "do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "size": 32,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    found = load_huggingface(str(folder)).preprocessing
    assert (found.input_size, found.crop_mode, found.crop_pct) == ((32, 32), "squash", 1)
    assert found.interpolation == "bicubic"
    assert found.mean == pytest.approx((0.485, 0.456, 0.406))


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


LAYERNORM = "vit.encoder.layer.1.layernorm_before.weight"


def remove(tensors):
    del tensors[LAYERNORM]


def rename(tensors):
    tensors[LAYERNORM.replace("before", "behind")] = tensors.pop(LAYERNORM)


def reshape(tensors):
    tensors[LAYERNORM] = tensors[LAYERNORM][:-1].clone()


def spoil(tensors):
    tensors[LAYERNORM][3] = torch.nan


def deepen(tensors):
    for key in list(tensors):
        if ".layer.1." in key:
            tensors[key.replace(".layer.1.", ".layer.2.")] = tensors[key].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, "1 missing in the file: .*layernorm_before.weight$"),
        (rename, "1 missing in the file: .*; 1 unexpected in the file: .*layernorm_behind.weight$"),
        (reshape, "1 of another shape: .*layernorm_before.weight$"),
        (spoil, "1 not finite: .*layernorm_before.weight$"),
        (deepen, "16 unexpected in the file: .* and 10 more$"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, message):
    edit_weights(folder, change)
    with pytest.raises(CheckpointError, match=f"^.* does not fit its own config.json.*{message}"):
        load_huggingface(str(folder))


def cut_tail(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def only_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def index_of_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    index = {"weight_map": {LAYERNORM: "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json of .* is damaged"),
        (lambda f: (f / "config.json").write_text("[]"), "is of model type None"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json of .* is damaged"),
        (lambda f: edit(f / "config.json", model_type=["vit"]), r"is of model type \['vit'\]"),
        (lambda f: edit(f / "config.json", model_type="bert"), "'bert'; .* beit, .*, vit_mae"),
        (lambda f: edit(f / "config.json", hidden_size="wide"), "could not be loaded"),
        (lambda f: edit(f / "config.json", quantization_config={}), "is quantised"),
        (lambda f: edit(f / "config.json", image_size=48), "of another shape"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
        (lambda f: (f / "preprocessor_config.json").write_text("{"), "cannot be read"),
        (
            lambda f: edit(f / "preprocessor_config.json", size={"height": 48, "width": 48}),
            "prepares images of 48 x 48 pixels, but its network takes 32 x 32",
        ),
        (
            lambda f: edit(f / "preprocessor_config.json", do_resize=False),
            "asks for what mimprobe cannot do: images keep their own size",
        ),
        (
            lambda f: edit(
                f / "preprocessor_config.json", image_processor_type="ConvNextImageProcessor",
            ),
            "ConvNextImageProcessor",
        ),
        (cut_tail, "could not be loaded"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (only_a_pickle, "only in pytorch_model.bin, a pickle"),
        (index_of_a_pickle, "names pytorch_model.bin, but there is no such safetensors file"),
    ],
)  # fmt: skip
def test_damaged_folders_are_told_in_one_line(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_huggingface(str(folder))
    assert "\n" not in str(caught.value)


def test_code_of_a_checkpoint_is_never_run(folder):
    marker = folder / "ran"
    code = f"open({str(marker)!r}, 'w')\nclass Evil: pass\n"
    (folder / "evil.py").write_text(code)
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"},
         attn_implementation="kernels-community/evil")  # fmt: skip
    edit(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Evil"})
    try:
        load_huggingface(str(folder))
    except CheckpointError as error:
        assert "preprocessor_config.json" in str(error)  # noqa: PT017
    assert not marker.exists()


def test_a_checkpoint_that_cannot_be_reached(monkeypatch, tmp_path):
    def snapshot_download(repository, **options):
        raise ConnectionError("no route to host\nand much advice")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=r"hub \(no route to host\); see whether") as caught:
        load_huggingface("facebook/vit-mae-base")
    assert "\n" not in str(caught.value)
    for name in ("vit-mae-base", "https://huggingface.co/facebook/vit-mae-base", "a/b/c"):
        with pytest.raises(CheckpointError, match="is a folder, or OWNER/NAME on the hub"):
            load_huggingface(name)


def test_without_transformers(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"pip install 'mimprobe\[hf\]'$"):
        load_huggingface(str(folder))


def test_with_an_old_transformers(folder, monkeypatch):
    monkeypatch.setattr("transformers.__version__", "4.48.1")
    with pytest.raises(CheckpointError, match=r"needs transformers 4\.57 or newer, this is 4\.48"):
        load_huggingface(str(folder))


def test_transformers_speaks_again_afterwards(folder):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_huggingface(str(folder))
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        load_huggingface(str(folder))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
