"""`torchrun -m mimprobe`: one result, one line, one status, however many processes."""

import os
import socket
import subprocess
import sys

import pandas as pd
import pytest

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.slow


def run(command):
    return subprocess.run(
        [*map(str, command)], env=ONE_THREAD, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip


def test_torchrun_writes_one_result(photos, tmp_path):
    arguments = [
        "random:test_vit", "--images", photos, "--batch-size", 1, "--analyzers",
        "attention_distance,cka", "--device", "cpu",
    ]  # fmt: skip
    done = run([*TORCHRUN, "-m", "mimprobe", "probe", *arguments, "-o", tmp_path / "two"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"tables: {tmp_path / 'two'}\n"
    alone = run([sys.executable, "-m", "mimprobe", "probe", *arguments, "-o", tmp_path / "one"])
    assert alone.returncode == 0, alone.stderr
    names = sorted(path.name for path in (tmp_path / "two").iterdir())
    assert names == ["attention_distance.csv", "cka.csv", "manifest.json", "per_image.npz"]
    for name in names[:2]:
        one, two = (pd.read_csv(tmp_path / count / name) for count in ("one", "two"))
        pd.testing.assert_frame_equal(one, two, rtol=0, atol=1e-9)


def test_an_error_of_one_process_ends_all_with_one_line_and_one_status(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in photos.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "3.png").write_bytes(b"no image")  # of the second process
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mimprobe", "probe", "random:test_vit", "--images", folder, "-o",
        tmp_path / "out", "--batch-size", "1", "--device", "cpu",
    ]  # fmt: skip
    both = [
        subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=ONE_THREAD | {
                "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [2, 2], told
    lines = [line for _, err in told for line in err.splitlines()]
    assert len(lines) == 1, lines
    assert "3.png" in lines[0]
    assert "--skip-bad-images" in lines[0]
    assert not (tmp_path / "out").exists()
