"""Two processes give the tables of one, and none of them hangs."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from together import CASES

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.slow


def run(command, **environment):
    return subprocess.run(
        [*map(str, command)], env=ONE_THREAD | environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """What each case gave: alone, and by process of two."""
    here = Path(__file__).with_name("together.py")
    found = {}
    for name, start in (("one", [sys.executable]), ("two", TORCHRUN)):
        out = tmp_path_factory.mktemp(name)
        done = run([*start, here, out])
        assert done.returncode == 0, done.stderr
        for rank in range(1 if name == "one" else 2):
            for case in CASES:
                found[name, case, rank] = pickle.loads((out / f"{case} of {rank}").read_bytes())
    return found


def assert_equal_results(one, other):
    assert set(one) == set(other)
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name], rtol=0, atol=1e-9)
    assert one.per_image.images == other.per_image.images
    np.testing.assert_allclose(one.per_image.values, other.per_image.values, rtol=1e-7)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("broken", "memory")])
def test_two_processes_give_the_tables_of_one(stored, case):
    alone, _ = stored["one", case, 0]
    for rank in range(2):
        assert_equal_results(stored["two", case, rank][0], alone)
    assert stored["two", case, 0][0].manifest["processes"] == 2
    assert alone.manifest["processes"] == 1
    assert len(alone.per_image.images) == (8 if case == "bad images" else 11)


def test_bad_images_of_several_processes_are_recorded_once_and_in_order(stored):
    for key in (("one", 0), ("two", 0), ("two", 1)):
        result, _ = stored[key[0], "bad images", key[1]]
        skipped = result.manifest["images"]["skipped"]
        assert [entry["image"] for entry in skipped] == ["01.png", "06.png", "09.png"]
        assert result.manifest["images"]["n"] == 8


def test_sums_were_what_the_case_of_sums_merged(stored):
    notes = stored["two", "sums", 0][0]["cka"]["note"]
    assert set(notes) == {"streaming sums keep no groups"}


def notes_of(result):
    """Notes of the run, but for the one that eleven images are too few for some analyzers."""
    return [note for note in result.manifest["notes"] if "too few images" not in note]


def test_each_process_makes_its_passes_as_small_as_it_must(stored):
    """Passes of other sizes change nothing beyond rounding."""
    one, several = stored["one", "memory", 0], stored["two", "memory", 0]
    assert notes_of(one[0]) == [note(2)]
    assert notes_of(several[0]) == [note(2), note(1)]
    assert one[1] == [note(2)]
    assert several[1] == [note(2), note(1)]
    for name, table in one[0].items():
        values = several[0][name]["value"].to_numpy(float)
        np.testing.assert_allclose(values, table["value"].to_numpy(float), rtol=2e-5)


def note(images):
    return (
        f"cpu ran out of memory; passes are of at most {images} images from then on, which changes "
        "no number."
    )


def test_a_failure_of_one_process_is_told_in_the_other_and_the_group_can_go_on(stored):
    kind, told = stored["two", "broken", 1][0]
    assert kind == "ImageError"
    assert told.startswith(stored["one", "broken", 0][0][1][:5])
    elsewhere, passed_on = stored["two", "broken", 0][0]
    assert elsewhere == "ElsewhereError"
    assert passed_on == f"process 1 failed: {told}"
