"""Which images a layer test is shown, and going on with a test that was stopped."""

import shutil

import numpy as np
import pandas as pd
import pytest
from networks import outcome_of

from mimprobe.errors import ImageError, OptionError, OutputError
from mimprobe.experiments.layers.judge import Judge


def test_a_limit_draws_every_class_where_there_is_a_readout(folders):
    result = outcome_of("drop", folders, readouts=["linear"], limit=6, seeds=1)
    assert set(result["layer_drop"]["n"]) == {6}
    drawn = [name.split("/")[0] for name in result.per_image.images]
    assert drawn == ["dots", "dots", "lines", "lines", "noise", "noise"]
    train, images = result.manifest["train_images"], result.manifest["images"]
    told = [(one["n"], one["limit"], one["drawn_by_class"]) for one in (train, images)]
    assert told == [(6, 6, True)] * 2


def test_a_limit_of_drift_alone_is_plain(folders):
    few = outcome_of("drop", (folders[1], folders[1]), readouts=["drift"], limit=5)["layer_drop"]
    assert set(few["n"]) == {5}


def test_damaged_images_are_left_out_of_features_labels_and_chance(folders, tmp_path):
    copies = []
    for folder in folders:
        copy = tmp_path / folder.name
        shutil.copytree(folder, copy)
        sorted(copy.glob("*/*.png"))[0].write_bytes(b"no image")
        copies.append(copy)
    with pytest.raises(ImageError, match="--skip-bad-images"):
        outcome_of("drop", copies, readouts=["knn"])
    found = outcome_of("drop", copies, readouts=["knn"], skip_bad_images=True)
    for copy in copies:
        sorted(copy.glob("*/*.png"))[0].unlink()
    without = outcome_of("drop", copies, readouts=["knn"])
    assert set(found["layer_drop"]["n"]) == {11}
    columns = ["changed", "layer", "metric", "value", "se", "n"]
    pd.testing.assert_frame_equal(found["layer_drop"][columns], without["layer_drop"][columns])
    described = [one.manifest["analyzers"]["layer_drop"] for one in (found, without)]
    assert described[0]["chance"] == described[1]["chance"]
    assert found.per_image.images == without.per_image.images
    with pytest.raises(OptionError, match="fine-tuning leaves out no damaged images"):
        outcome_of("drop", copies, readouts=["finetune"], skip_bad_images=True)


class StopError(Exception):
    pass


def stopping_at(monkeypatch, owner, name, count):
    """Let a method work so many times and then fail; give the list of its calls."""
    real, calls = getattr(owner, name), []

    def some(self, *arguments):
        if len(calls) == count:
            raise StopError
        calls.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(owner, name, some)
    return calls


def test_a_run_that_was_stopped_goes_on_to_the_same_tables(monkeypatch, folders, tmp_path):
    copies = []
    for folder in folders:
        copies.append(tmp_path / folder.name)
        shutil.copytree(folder, copies[-1])
        sorted(copies[-1].glob("*/*.png"))[0].write_bytes(b"no image")
    settings = {"models": ("vit", "swin"), "readouts": ["knn", "linear"], "skip_bad_images": True}
    whole = outcome_of("swap", copies, **settings)
    settings["progress_in"] = tmp_path / "out"
    stopping_at(monkeypatch, Judge, "of", 1)
    with pytest.raises(StopError):
        outcome_of("swap", copies, **settings)
    monkeypatch.undo()
    calls = stopping_at(monkeypatch, Judge, "of", 9)
    with pytest.warns(UserWarning, match="^going on after 1 step of the run$"):
        again = outcome_of("swap", copies, resume=True, **settings)
    assert [model.name for (model,) in calls] == ["swin"]
    pd.testing.assert_frame_equal(again["layer_swap"], whole["layer_swap"], check_exact=True)
    np.testing.assert_array_equal(again.per_image.values, whole.per_image.values)
    assert again.per_image.images == whole.per_image.images
    assert again.manifest["analyzers"] == whole.manifest["analyzers"]
    assert again.manifest["images"]["skipped"] == whole.manifest["images"]["skipped"] != []
    assert again.manifest["notes"] == ["The run was interrupted and resumed."]
    monkeypatch.setattr(Judge, "of", None)  # nothing is left to do, and what was skipped is known
    with pytest.warns(UserWarning, match="^going on after 2 steps of the run$"):
        done = outcome_of("swap", copies, resume=True, **settings)
    assert done.manifest["images"]["skipped"] == whole.manifest["images"]["skipped"]
    assert done.manifest["analyzers"] == whole.manifest["analyzers"]


def test_another_run_does_not_go_on_from_there(folders, tmp_path):
    settings = {"readouts": ["knn"], "progress_in": tmp_path}
    outcome_of("drop", folders, **settings)
    with pytest.raises(OutputError, match=r"other read-outs \(knn then, linear now\); repeat that"):
        outcome_of("drop", folders, resume=True, **settings | {"readouts": ["linear"]})
    with pytest.raises(OutputError, match="of a run with other validation images"):
        outcome_of("drop", (folders[0], folders[0]), resume=True, **settings)
    with pytest.raises(OptionError, match="resume=True needs progress_in"):
        outcome_of("drop", folders, resume=True)
    with pytest.warns(UserWarning, match="no progress in .*: starting from the beginning"):
        outcome_of("drop", folders, resume=True, **settings | {"progress_in": tmp_path / "new"})


def test_probes_need_two_images_of_a_class(folders, tmp_path):
    for name in ("dots", "lines", "noise"):
        (tmp_path / name).mkdir()
        for number in range(2 if name == "dots" else 1):
            shutil.copy(folders[0] / name / f"{number}.png", tmp_path / name)
    outcome_of("drop", (tmp_path, folders[1]), readouts=["linear"], seeds=1)
    (tmp_path / "dots" / "1.png").unlink()
    with pytest.raises(OptionError, match="each of the 3 to learn from is the only one of its"):
        outcome_of("drop", (tmp_path, folders[1]), readouts=["linear"])


def test_too_few_are_left_after_skipping(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path / "train")
    for file in sorted((tmp_path / "train").glob("*/*.png"))[:6]:
        file.write_bytes(b"no image")
    with pytest.raises(OptionError, match="knn asks 20 neighbours, and there are 18 images"):
        outcome_of("drop", (tmp_path / "train", folders[1]), skip_bad_images=True)


def test_a_class_without_a_readable_training_image_is_told(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path / "train")
    for file in (tmp_path / "train" / "noise").iterdir():
        file.write_bytes(b"no image")
    found = outcome_of(
        "drop", (tmp_path / "train", folders[1]), readouts=["linear"], seeds=1, skip_bad_images=True
    )
    assert found.manifest["notes"] == [
        "4 of 12 validation images are of classes of which no training image is readable: no "
        "read-out can name them."
    ]
    assert found["layer_drop"].query("metric == 'linear_accuracy'")["value"].max() <= 2 / 3
