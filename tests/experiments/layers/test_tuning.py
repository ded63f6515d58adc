"""Fine-tuning at chosen points of a curve, against fine-tuning each changed network by hand."""

import pandas as pd
import pytest
from networks import class_folder

import mimprobe
from mimprobe.data.images import open_images
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.experiments.finetuned import finetuned_correct
from mimprobe.experiments.layers import tuning
from mimprobe.experiments.layers.judge import Judge
from mimprobe.models.surgery import permute_blocks
from mimprobe.zoo.load import load_model

SETTINGS = {"batch_size": 6, "base_learning_rate": 0.05, "device": "cpu"}


def small():
    arguments = {"patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
    return load_model(
        "random:vit_tiny_patch16_224", arch_args=arguments, input_size=16, device="cpu"
    )


def test_chosen_points_are_fine_tuned_once_for_each_seed(tmp_path, monkeypatch):
    train, val = class_folder(tmp_path / "train", 4, 0), class_folder(tmp_path / "val", 2, 1)
    model = small()
    result = mimprobe.layer_test(
        [model], "swap", train, val, readouts=["finetune"], seeds=2, changed=[3], epochs=1,
        pooling="cls", training=SETTINGS, device="cpu", progress_in=tmp_path / "out",
    )  # fmt: skip
    table = result["layer_swap"]
    tuned = table[table["metric"] == "finetune_accuracy"]
    assert tuned["changed"].tolist() == [0, 0, 0, 3, 3, 3]
    assert tuned["layer"].isna().all()
    assert set(tuned["pooling"]) == {"mean"}  # the classifier's own, whatever was asked for
    assert set(table.loc[table["metric"] == "drift", "pooling"]) == {"cls"}
    expected = [
        finetuned_correct(
            model, permute_blocks(model.module, 3, seed), open_images(train), open_images(val),
            tmp_path / str(seed), seed=seed, epochs=1, settings=SETTINGS,
        ).double()
        for seed in range(2)
    ]  # fmt: skip
    found = tuned[tuned["changed"] == 3]
    assert found["seed"].tolist()[:2] == [0, 1]
    assert found["value"].tolist()[:2] == [right.mean().item() for right in expected]
    kept = result.per_image.select(layer=3, metric="finetune_accuracy")
    assert kept.values[:, 0].tolist() == (sum(expected) / 2).tolist()
    assert found["value"].tolist()[2] == pytest.approx(kept.values.mean())
    described = result.manifest["analyzers"]["layer_swap"]
    assert (described["finetune_epochs"], described["finetune_training"]) == (1, SETTINGS)
    assert "1 epochs, with batch_size=6, base_learning_rate=0.05" in described["definition"]
    monkeypatch.setattr(tuning, "finetuned_correct", None)  # another point would have to be made
    with pytest.warns(UserWarning, match="going on after 3 steps"):
        again = mimprobe.layer_test(
            [model], "swap", train, val, readouts=["finetune"], seeds=2, changed=[3], epochs=1,
            pooling="cls", training=SETTINGS, device="cpu", progress_in=tmp_path / "out",
            resume=True,
        )  # fmt: skip
    pd.testing.assert_frame_equal(again["layer_swap"], table, check_exact=True)


def test_what_training_would_refuse_is_refused_before_any_pass(tmp_path, monkeypatch):
    train, val = class_folder(tmp_path / "train", 4, 0), class_folder(tmp_path / "val", 2, 1)
    monkeypatch.setattr(Judge, "of", None)
    for settings, error, told in (
        ({}, OptionError, "fine-tuning takes batches of 64, and there are 12 images to learn from"),
        ({"batchsize": 6}, UnknownNameError, "'batchsize'; did you mean 'batch_size'?"),
        ({"batch_size": "a"}, OptionError, "batch_size must be a whole number, not 'a'"),
        ({"mixup": True}, OptionError, "mixup must be a number, not True"),
        ({"seed": 3}, OptionError, "seed cannot be a setting of this fine-tuning"),
    ):
        with pytest.raises(error, match=told):
            mimprobe.layer_test(
                [small()], "drop", train, val, readouts=["finetune"], epochs=1, device="cpu",
                training=settings,
            )  # fmt: skip
