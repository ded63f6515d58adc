"""Progress on disk: what is saved, what is taken up, and what is refused."""

import shutil
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from together import network, pictures, prepare

import mimprobe
from mimprobe.errors import DeviceMemoryError, ImageError, OptionError, OutputError
from mimprobe.loop import progress_file, showing
from mimprobe.loop.tally import Tally

FILE = "0-of-1.pt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("progress") / "pictures")


def probe(folder, out, *, most=11, **settings):
    settings = {"transform": prepare, "device": "cpu", "batch_size": 2} | settings
    return mimprobe.probe({"m": network(most)}, folder, progress_in=out, save_every=0.0, **settings)


class StopError(Exception):
    pass


def stopped(monkeypatch, folder, out, after, **settings):
    """Measure until so many batches were shown."""
    real = showing.batches

    def some(*arguments, **options):
        for count, batch in enumerate(real(*arguments, **options)):
            if count == after:
                raise StopError
            yield batch

    monkeypatch.setattr(showing, "batches", some)
    with pytest.raises(StopError):
        probe(folder, out, **settings)
    monkeypatch.undo()


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return probe(folder, tmp_path_factory.mktemp("whole"))


def assert_equal(one, other):
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name], check_exact=True)
    assert one.per_image.images == other.per_image.images
    np.testing.assert_array_equal(one.per_image.values, other.per_image.values)


def notes_of(result):
    """Notes of the run, but for the one that eleven images are too few for some analyzers."""
    return [note for note in result.manifest["notes"] if "too few images" not in note]


@pytest.mark.parametrize("after", [1, 3, 5])
def test_resuming_gives_the_same_tables_bit_for_bit(monkeypatch, folder, whole, tmp_path, after):
    stopped(monkeypatch, folder, tmp_path, after)
    assert [path.name for path in (tmp_path / ".progress").iterdir()] == [FILE]
    with pytest.warns(UserWarning, match=f"^going on after {after} batches$"):
        again = probe(folder, tmp_path, resume=True)
    assert_equal(again, whole)
    assert notes_of(again) == ["The run was interrupted and resumed."]
    assert again.manifest["seconds_waiting"] <= again.manifest["seconds"]


def test_what_is_done_is_not_done_again(monkeypatch, folder, tmp_path):
    stopped(monkeypatch, folder, tmp_path, 4)
    shown = []
    real = showing.batches

    def noted(*arguments, **options):
        for batch in real(*arguments, **options):
            shown.extend(batch.numbers)
            yield batch

    monkeypatch.setattr(showing, "batches", noted)
    with warnings.catch_warnings(action="ignore"):
        probe(folder, tmp_path, resume=True)
    assert shown == [8, 9, 10]


def test_skipped_images_and_small_passes_are_remembered(monkeypatch, folder, tmp_path):
    mine = tmp_path / "pictures"
    shutil.copytree(folder, mine)
    (mine / "01.png").write_bytes(b"no image")
    settings = {"batch_size": 4, "most": 2, "skip_bad_images": True}
    with warnings.catch_warnings(action="ignore"):
        stopped(monkeypatch, mine, tmp_path / "out", 1, **settings)
        found = probe(mine, tmp_path / "out", resume=True, **settings)
        alone = probe(mine, tmp_path / "alone", **settings)
    assert_equal(found, alone)
    assert [one["image"] for one in found.manifest["images"]["skipped"]] == ["01.png"]
    small = notes_of(alone)[0]
    assert "at most 1 images" in small or "at most 2 images" in small
    assert notes_of(found) == [small, "The run was interrupted and resumed."]


def test_a_bad_image_loses_nothing(folder, tmp_path):
    mine = tmp_path / "pictures"
    shutil.copytree(folder, mine)
    (mine / "07.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"07\.png"):
        probe(mine, tmp_path / "out")
    with pytest.warns(UserWarning, match="going on after 3 batches"):
        found = probe(mine, tmp_path / "out", resume=True, skip_bad_images=True)
    assert found.manifest["images"]["n"] == 10


def test_without_progress_it_begins_and_says_so(folder, whole, tmp_path):
    with pytest.warns(UserWarning, match="no progress in .*: starting from the beginning"):
        found = probe(folder, tmp_path, resume=True)
    assert_equal(found, whole)
    assert notes_of(found) == []
    with pytest.raises(OptionError, match="needs progress_in"):
        mimprobe.probe({"m": network()}, folder, transform=prepare, resume=True)


def test_without_resume_it_begins_anew(monkeypatch, folder, whole, tmp_path):
    stopped(monkeypatch, folder, tmp_path, 3)
    assert_equal(probe(folder, tmp_path), whole)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"batch_size": 3}, r"of a run with other batch size \(2 then, 3 now\); repeat that run"),
        ({"precision": "bfloat16"}, r"other precision \(float32 then, bfloat16 now\);"),
        (
            {"analyzers": ["head_kl"]},
            r"other analyzers \(attention_distance, .* then, head_kl now\), settings of attention",
        ),
        (
            {"analyzers": [mimprobe.ANALYZERS["head_kl"](prefix="keep")]},
            r"settings of head_kl",
        ),
        ({"limit": 9}, r"other images \(11 with sha256 [0-9a-f]+\.\.\. then, 9 with sha256 "),
    ],
)  # fmt: skip
def test_another_run_is_refused_with_what_differs(monkeypatch, folder, tmp_path, changed, told):
    stopped(monkeypatch, folder, tmp_path, 2)
    with pytest.raises(OutputError, match=told):
        probe(folder, tmp_path, resume=True, **changed)
    assert (tmp_path / ".progress" / FILE).exists()


def test_other_weights_and_other_numbers_of_processes_are_refused(monkeypatch, folder, tmp_path):
    stopped(monkeypatch, folder, tmp_path, 2)
    other = network()
    with torch.no_grad():
        other.cls_token += 1
    settings = {"transform": prepare, "device": "cpu", "batch_size": 2, "resume": True}
    with pytest.raises(OutputError, match=r"other model 'm' \(sha256 .* then, sha256 .* now\);"):
        mimprobe.probe({"m": other}, folder, progress_in=tmp_path, **settings)
    with pytest.raises(OutputError, match=r"other models \(m then, n now\), model 'n' \(none then"):
        mimprobe.probe({"n": network()}, folder, progress_in=tmp_path, **settings)
    (tmp_path / ".progress" / FILE).rename(tmp_path / ".progress" / "0-of-2.pt")
    with pytest.raises(OutputError, match=r"other processes \(2 then, 1 now\);"):
        probe(folder, tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "bit"])
def test_damaged_progress_is_one_clear_line(monkeypatch, folder, tmp_path, damage):
    stopped(monkeypatch, folder, tmp_path, 3)
    path = tmp_path / ".progress" / FILE
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        largest = max(file.infolist(), key=lambda part: part.file_size)
        content[content.index(file.read(largest)) + 5] ^= 4
    broken = {"cut": content[:-40], "empty": b"", "text": b"hello", "bit": content}[damage]
    path.write_bytes(broken)
    with pytest.raises(OutputError) as caught:
        probe(folder, tmp_path, resume=True)
    assert str(caught.value).startswith(f"the progress in {path} is damaged (")
    assert str(caught.value).endswith("); pass --overwrite instead of --resume to start anew")
    assert "\n" not in str(caught.value)


def test_half_written_files_are_cleared_away(monkeypatch, folder, whole, tmp_path):
    stopped(monkeypatch, folder, tmp_path, 3)
    torn = tmp_path / ".progress" / f".{FILE}.x1y2"
    torn.write_bytes(b"half")
    with warnings.catch_warnings(action="ignore"):
        assert_equal(probe(folder, tmp_path, resume=True), whole)
    assert not torn.exists()


def test_saving_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    """By a clock of our own: a save that takes 3 s is not repeated before 60 s have passed."""

    class Slow(Tally):
        def __init__(self):
            pass

        def state(self):
            now[0] += 3.0
            return {}

    now = [100.0]
    monkeypatch.setattr(progress_file.time, "monotonic", lambda: now[0])
    progress = progress_file.ProgressFile(tmp_path, {}, 0, 1, every=10.0)
    saved = []
    for second in range(200):
        now[0] += 1.0
        before = now[0]
        progress.save_if_due(Slow())
        if now[0] > before:
            saved.append(second)
    assert saved[0] == 9
    assert set(np.diff(saved)) == {60}


def test_memory_too_small_for_one_image(folder):
    settings = {"transform": prepare, "device": "cpu", "batch_size": 8}
    with pytest.raises(DeviceMemoryError, match="ran out of memory with a single image"):
        mimprobe.probe({"m": network(0)}, folder, **settings)
    with pytest.warns(UserWarning, match="passes are of at most 3 images") as told:
        halved = mimprobe.probe({"m": network(3)}, folder, **settings | {"batch_size": 6})
    assert len(told) == 1
    plain = mimprobe.probe({"m": network()}, folder, **settings)
    assert len(notes_of(halved)) == 1
    assert halved.manifest["batch_size"] == 6
    for name, table in plain.items():
        values = halved[name]["value"].to_numpy(float)
        np.testing.assert_allclose(values, table["value"].to_numpy(float), rtol=2e-5)


def test_other_errors_of_the_network_are_not_taken_for_a_lack_of_memory(folder):
    class Broken(torch.nn.Module):
        def forward(self, pixels):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model = network()
    model.patch_embed.norm = Broken()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        mimprobe.probe({"m": model}, folder, transform=prepare, device="cpu")
