"""Results on disk: what is read back equals what was written, or there is one clear line."""

import os
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from layer_tables import layer_result
from synthetic import Spec, make_result

from mimprobe.errors import OutputError, UnknownNameError
from mimprobe.tables import (
    LAYER_TEST_COLUMNS,
    MANIFEST_NAME,
    PER_IMAGE_KEYS,
    PER_IMAGE_NAME,
    PROGRESS_FOLDER,
    PerImageValues,
    Result,
    check_output,
    files_of,
    holds_progress,
    holds_result,
    join_per_image,
    read_result,
    register_files,
    remove_progress,
    write_text,
)
from mimprobe.tables.layer_tests import (
    block_rows,
    curve_rows,
    exchange_rows,
    intact_rows,
    over_seeds,
    single_head_rows,
)

WRITES = 11
"""Files of the small result: five tables, the values of every image, the manifest."""


def small(*names, images=24, seed=0, **settings):
    specs = [Spec(name, **{"depth": 2, "heads": 2} | settings) for name in names or ("a", "b")]
    return make_result(specs, images=images, seed=seed)


@pytest.fixture
def result():
    return small()


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name in wanted:
        pd.testing.assert_frame_equal(found[name], wanted[name], check_exact=True)
    assert found.per_image.images == wanted.per_image.images
    pd.testing.assert_frame_equal(found.per_image.columns, wanted.per_image.columns)
    assert found.per_image.values.dtype == np.float32
    np.testing.assert_array_equal(found.per_image.values, wanted.per_image.values)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "names",
    [
        ("simmim", "random:simmim"), ("1", "01"), ("nan", "NA"), ("None", "True"), ("1e5", "inf"),
        ("a,b", 'say "hi"'), ("Größe", "模型"), (" lead", "trail "), ("#x", "'"), ("two\nrows", ""),
    ],
)  # fmt: skip
def test_read_back_equals_what_was_written(names, tmp_path):
    result = small(*names)
    assert_same(read_result(result.write(tmp_path / "out")), result)


def test_every_number_is_read_back_bit_for_bit(result, tmp_path):
    draw = np.random.default_rng(0)
    table = pd.concat([result["head_kl"]] * 40, ignore_index=True)
    scale = 10.0 ** draw.integers(-300, 300, len(table))
    table["value"] = draw.standard_normal(len(table)) * scale
    table.loc[:4, "value"] = [0.1, 1 / 3, 5e-324, np.nan, 1.7976931348623157e308]
    written = Result({"head_kl": table}, result.manifest, result.per_image)
    assert_same(read_result(written.write(tmp_path / "out")), written)


def test_few_images_and_no_attention(tmp_path):
    for images in (1, 10):
        result = small(images=images)
        assert_same(read_result(result.write(tmp_path / str(images))), result)
    blind = small("r", family="resnet")
    found = read_result(blind.write(tmp_path / "blind"))
    assert list(found["head_kl"].columns) == list(blind["head_kl"].columns)
    assert (len(found["head_kl"]), len(found["cka"])) == (0, 4)


def test_the_manifest_lists_tables_and_files(result, tmp_path):
    out = result.write(tmp_path / "deep" / "out")
    found = read_result(out).manifest
    files = [*(f"{name}.csv" for name in result), PER_IMAGE_NAME]
    assert found == {**result.manifest, "format": 1, "tables": list(result), "files": files}
    assert contents(out).keys() == {*files, MANIFEST_NAME}
    assert len(files) + 1 == WRITES


def test_another_result_is_refused(result, tmp_path):
    out = result.write(tmp_path / "out")
    before = contents(out)
    with pytest.raises(OutputError, match="already holds another result; pass --overwrite"):
        small("c").write(out)
    assert contents(out) == before
    check_output(out, overwrite=True)


def test_progress_is_neither_lost_nor_mistaken_for_a_result(result, tmp_path):
    out = tmp_path / "out"
    assert not holds_progress(out)
    (out / PROGRESS_FOLDER).mkdir(parents=True)
    (out / PROGRESS_FOLDER / "0-of-1.pt").write_bytes(b"x")
    assert holds_progress(out)
    with pytest.raises(OutputError, match="holds the progress of a run that was interrupted; pass"):
        check_output(out, overwrite=False)
    check_output(out, overwrite=False, resume=True)
    check_output(out, overwrite=True)
    result.write(out, overwrite=True)
    assert holds_progress(out)
    remove_progress(out)
    with pytest.raises(OutputError, match="already holds another result"):
        check_output(out, overwrite=False, resume=True)


def test_other_files_and_a_file_are_refused(result, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds other files; pass --overwrite"):
        result.write(tmp_path)
    with pytest.raises(OutputError, match="notes.txt is a file; name a folder"):
        result.write(tmp_path / "notes.txt", overwrite=True)
    assert contents(tmp_path) == {"notes.txt": b"mine"}
    (tmp_path / "empty").mkdir()
    result.write(tmp_path / "empty")


def test_overwriting_removes_the_earlier_result_and_nothing_else(result, tmp_path):
    out = result.write(tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    (out / "mine").mkdir()
    (out / "mine" / "head_kl.csv").write_text("mine")
    (out / "later.png").write_text("of the report")
    register_files(out, ["later.png"])
    other = Result({"cka": small("c")["cka"]}, small("c").manifest, small("c").per_image)
    other.write(out, overwrite=True)
    assert_same(read_result(out), other)
    left = {path.name for path in out.iterdir()}
    assert left == {"notes.txt", "mine", "cka.csv", PER_IMAGE_NAME, MANIFEST_NAME}
    assert contents(out / "mine") == {"head_kl.csv": b"mine"}


def test_overwriting_never_leaves_the_folder(result, tmp_path):
    """A manifest may be wrong, or be that of another program."""
    outside, out = tmp_path / "outside.txt", tmp_path / "out"
    outside.write_text("mine")
    result.write(out)
    (out / "link").symlink_to(outside)
    register_files(out, ["../outside.txt", str(outside), "link", "..", ""])
    result.write(out, overwrite=True)
    assert outside.read_text() == "mine"
    for text in ('{"files": ["photo.jpg"]}', '["photo.jpg"]', "null", "{"):
        (out / "photo.jpg").write_text("mine")
        (out / MANIFEST_NAME).write_text(text)
        result.write(out, overwrite=True)
        assert (out / "photo.jpg").read_text() == "mine"


@pytest.mark.parametrize("step", range(WRITES))
@pytest.mark.parametrize(
    ("place", "name", "error"),
    [(os, "fsync", KeyboardInterrupt), (Path, "replace", OSError)],
    ids=["while writing", "while renaming"],
)
def test_an_interrupted_write_leaves_no_result(step, place, name, error, tmp_path, monkeypatch):
    out = small("earlier").write(tmp_path / "out")
    calls, original = [], getattr(place, name)

    def fail_in_time(*arguments):
        calls.append(arguments)
        if len(calls) > step:
            raise error
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(place, name, fail_in_time)
        with pytest.raises(error):
            small("later").write(out, overwrite=True)
    assert len(calls) == step + 1
    with pytest.raises(OutputError, match="not a result, or one that was interrupted"):
        read_result(out)
    assert not [name for name in contents(out) if name.startswith(".")]
    small("later").write(out, overwrite=True)
    read_result(out)


def test_a_file_that_cannot_be_finished_keeps_its_earlier_content(tmp_path, monkeypatch):
    write_text(tmp_path / "page.html", "whole")
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "page.html", "half")
    assert contents(tmp_path) == {"page.html": b"whole"}


def test_written_files_follow_the_umask_and_are_utf8(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "Größe \udce9")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a.txt").read_bytes() == "Größe \\udce9".encode()


@pytest.mark.parametrize("name", [PER_IMAGE_NAME, MANIFEST_NAME])
@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 0.9, 0.99])
def test_a_cut_file_is_one_line(name, share, result, tmp_path):
    out = result.write(tmp_path / "out")
    data = (out / name).read_bytes()
    (out / name).write_bytes(data[: int(share * len(data))])
    assert_damaged(out)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cka.csv", lambda data: b""),
        ("cka.csv", lambda data: b"\xff\xfe" * 40),
        ("cka.csv", lambda data: data[:-1] + b",,,\n"),
        ("head_kl.csv", lambda data: data.replace(b",24\n", b",many\n", 1)),
        ("head_kl.csv", lambda data: data[:200] + bytes(60) + data[260:]),
        (PER_IMAGE_NAME, lambda data: data[:200] + bytes(60) + data[260:]),
        (PER_IMAGE_NAME, lambda data: data.replace(b"head.npy", b"hood.npy")),
        (PER_IMAGE_NAME, lambda data: data[:3000] + b"\xff" * 60 + data[3060:]),
        (PER_IMAGE_NAME, lambda data: data.replace(b"-\0\0\0\x08\0", b"-\0\0\0\x63\0")),
        (PER_IMAGE_NAME, lambda data: b"\x80\x04K\x01."),
    ],
)
def test_a_damaged_file_is_one_line(name, change, result, tmp_path):
    out = result.write(tmp_path / "out")
    (out / name).write_bytes(change((out / name).read_bytes()))
    assert_damaged(out)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "null", '{"format": 1}', '{"format": 1, "tables": ["lost"], "files": []}',
        '{"format": 1, "tables": 3, "files": []}', '{"format": 1, "tables": []}',
        '{"format": "new", "tables": [], "files": []}',
    ],
)  # fmt: skip
def test_a_wrong_manifest_is_one_line(text, result, tmp_path):
    out = result.write(tmp_path / "out")
    (out / MANIFEST_NAME).write_text(text)
    assert_damaged(out)


def assert_damaged(out):
    with pytest.raises(OutputError, match=r"^the result in .*out is damaged \(.+\); run") as caught:
        read_result(out)
    assert "\n" not in str(caught.value)


def test_no_result_and_a_newer_one(result, tmp_path):
    with pytest.raises(OutputError, match="no result folder at .*nowhere; make one with"):
        read_result(tmp_path / "nowhere")
    out = result.write(tmp_path / "out")
    (out / MANIFEST_NAME).write_text('{"format": 9}')
    with pytest.raises(OutputError, match=r"in format 9, this version reads up to 1; update"):
        read_result(out)


def test_a_folder_holds_the_result_that_was_written_there(result, tmp_path):
    out = result.write(tmp_path / "out")
    register_files(out, ["report.html"])
    assert files_of(out)[-1] == "report.html"
    assert holds_result(out, result)
    assert holds_result(out, read_result(out))
    assert not holds_result(out, small(seed=1))
    assert not holds_result(tmp_path, result)
    for text in ("[]", "null", "3", "{", "{}"):
        (out / MANIFEST_NAME).write_text(text)
        assert not holds_result(out, result)


def test_a_result_is_a_mapping(result):
    assert result.get("cka") is result["cka"]
    assert result.get("nothing") is None
    assert (len(result), "cka" in result, "kca" in result) == (9, True, False)
    with pytest.raises(UnknownNameError, match="unknown table 'kca'; did you mean 'cka'"):
        result["kca"]


def test_a_notebook_shows_names_as_text():
    shown = small("<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "24 images" in shown


def test_selecting_values_by_their_keys(result):
    found = result.per_image.select(model="b", metric="head_kl", layer=1)
    assert found.columns["head"].tolist() == [0, 1, -1]
    whole = result.per_image
    place = whole.columns.query("model == 'b' and metric == 'head_kl' and layer == 1").index
    np.testing.assert_array_equal(found.values, whole.values[:, place])
    with pytest.raises(UnknownNameError, match="unknown per-image key 'modle'; did you mean"):
        whole.select(modle="b")


def test_joining_values_of_the_same_images(result):
    whole = result.per_image
    parts = [whole.select(metric=metric) for metric in ("head_kl", "prefix_mass")]
    nothing = PerImageValues((), pd.DataFrame(columns=list(PER_IMAGE_KEYS)), np.empty((0, 0), "f4"))
    joined = join_per_image([parts[0], nothing, parts[1]])
    for part, metric in zip(parts, ("head_kl", "prefix_mass"), strict=True):
        np.testing.assert_array_equal(joined.select(metric=metric).values, part.values)
    assert joined.images == whole.images
    assert join_per_image([nothing]).values.shape == (0, 0)
    with pytest.raises(OutputError, match="of different images cannot be joined"):
        join_per_image([parts[0], small("c", images=23).per_image])


def test_layer_tests_keep_their_empty_numbers_and_their_kinds_of_rows(tmp_path):
    result = layer_result(images=5)
    again = read_result(result.write(tmp_path / "out"))
    for name, table in result.tables.items():
        read = again[name]
        assert list(read.columns) == list(LAYER_TEST_COLUMNS)
        for column in ("layer", "other_layer", "head", "seed", "changed"):
            assert read[column].equals(table[column])
        kinds = [len(keep(read)) for keep in (
            curve_rows, exchange_rows, block_rows, single_head_rows,
        )]  # fmt: skip
        assert sum(kinds) == len(read)
        assert 0 < len(intact_rows(read)) <= kinds[0]
        assert over_seeds(read)["seed"].isna().all()
