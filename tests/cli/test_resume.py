"""`--resume` after every way in which a run can end: killed, interrupted, stopped by an error."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

WATCHED = """
import os, signal, sys, time
import mimprobe.loop.showing as showing
from mimprobe.__main__ import main
real, end, pause = showing.batches, sys.argv.pop(), float(sys.argv.pop())
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are born deaf to it

def watched(*arguments, **options):
    for count, batch in enumerate(real(*arguments, **options)):
        if end == f"after {count}":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == f"interrupt {count}":
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(pause)
        yield batch

showing.batches = watched
main()
"""
"""The command, which ends itself at a batch, or waits at each so that it can be killed anywhere."""

SETTINGS = [
    "--batch-size", "1", "--save-every", "0", "--device", "cpu", "--analyzers",
    "attention_distance,head_kl,cka",
]  # fmt: skip

pytestmark = pytest.mark.slow


def command(photos, out, *more, end="never", pause=0.0):
    return [
        sys.executable, "-c", WATCHED, "probe", "random:test_vit", "--images", str(photos), "-o",
        str(out), *SETTINGS, *more, str(pause), end,
    ]  # fmt: skip


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options), capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    done = run(photos, out)
    assert done.returncode == 0, done.stderr
    assert not (out / ".progress").exists()
    return out


def assert_same_result(out, whole):
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )
    for path in whole.glob("*.csv"):
        pd.testing.assert_frame_equal(
            pd.read_csv(out / path.name), pd.read_csv(path), rtol=0, atol=1e-12
        )
    with np.load(out / "per_image.npz") as one, np.load(whole / "per_image.npz") as other:
        np.testing.assert_array_equal(one["values"], other["values"])
        np.testing.assert_array_equal(one["image"], other["image"])


def test_killed_again_and_again_at_random_it_ends_with_the_same_tables(photos, whole, tmp_path):
    """Kill -9 at random moments after the first save: while decoding, measuring or saving."""
    draw = random.Random(0)
    out, kills, more = tmp_path / "out", 0, []
    for _ in range(3):
        process = subprocess.Popen(
            command(photos, out, *more, pause=0.3), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        file = out / ".progress" / "0-of-1.pt"
        before = file.stat().st_mtime_ns if file.exists() else 0
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if file.exists() and file.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.4))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
        more = ["--resume"]
    assert kills == 3
    done = run(photos, out, "--resume")
    assert done.returncode == 0, done.stderr
    assert "going on after " in done.stderr
    assert_same_result(out, whole)
    notes = json.loads((out / "manifest.json").read_text())["notes"]
    assert notes == ["The run was interrupted and resumed."]


def test_a_run_with_progress_is_neither_lost_nor_mistaken(photos, whole, tmp_path):
    out = tmp_path / "out"
    assert run(photos, out, end="after 3").returncode == -signal.SIGKILL
    refused = run(photos, out)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "holds the progress of a run that was interrupted; pass --resume" in refused.stderr
    anew = run(photos, out, "--overwrite")
    assert anew.returncode == 0, anew.stderr
    assert_same_result(out, whole)


def test_ctrl_c_says_that_resume_goes_on(photos, whole, tmp_path):
    out = tmp_path / "out"
    interrupted = run(photos, out, end="interrupt 3")
    assert interrupted.returncode == 130
    assert interrupted.stderr.strip() == (
        "mimprobe: interrupted; the same command with --resume goes on from here"
    )
    done = run(photos, out, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_result(out, whole)


def test_two_killed_processes_go_on(photos, whole, tmp_path):
    """Each has a file of its own; the kill of one ends the other."""
    out = tmp_path / "out"
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]

    def start(*more, end="never"):
        arguments = command(photos, out, *more, end=end)[3:]
        return subprocess.run(
            [*torchrun, str(script), *arguments], capture_output=True, text=True, check=False,
            timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    assert start(end="after 2").returncode != 0
    names = {path.name for path in (out / ".progress").glob("*.pt")}
    assert names
    assert names <= {"0-of-2.pt", "1-of-2.pt"}
    done = start("--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"tables: {out}\n"
    assert_same_result(out, whole)
