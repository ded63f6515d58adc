"""A run that ends early in any way goes on as if it had not."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import torch
from runs import ONE_THREAD, START, losses, read_log

from mimprobe.errors import CheckpointError, OutputError
from mimprobe.train import checkpoint
from mimprobe.train.engine import Engine
from mimprobe.train.fit import pretrain
from mimprobe.zoo.load import load_model

SETTINGS = {
    "plain": {},
    "everything": {"precision": "bfloat16", "ema_decay": 0.9, "accumulate": 2},
    "float16": {"precision": "float16"},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_run_that_died_after_any_step_goes_on_bit_for_bit(
    stop, settings, photos, make_config, tmp_path, monkeypatch
):
    changes = SETTINGS[settings]
    pretrain(photos, tmp_path / "whole", make_config(**changes))
    # A checkpoint after every step, and death two steps later: the log is ahead of the checkpoint.
    config = make_config(checkpoint_minutes=0.0, **changes)
    save = checkpoint.save_checkpoint

    def save_until(directory, state):
        if state["step"] <= stop:
            save(directory, state)
        elif state["step"] == stop + 2:
            raise RuntimeError("killed")

    monkeypatch.setattr(checkpoint, "save_checkpoint", save_until)
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(photos, tmp_path / "killed", config)
    with (tmp_path / "killed" / "log.jsonl").open("a") as log:
        log.write('{"step": 99, "lo')
    monkeypatch.undo()
    pretrain(photos, tmp_path / "killed", config, resume=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    one, other = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed"))
    assert one["scaler"] == other["scaler"]
    for kind in ("model", "average"):
        assert one[kind].keys() == other[kind].keys()
        assert all(torch.equal(value, other[kind][key]) for key, value in one[kind].items())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_kill_nine_at_random_moments(workers, photos, make_config, tmp_path):
    """The same with real processes and real kills, at whatever moment they hit."""
    config = make_config(epochs=40, checkpoint_minutes=0.0, workers=workers)
    pretrain(photos, tmp_path / "whole", make_config(epochs=40))
    folder, draw = tmp_path / "killed", random.Random(workers)
    log = folder / "log.jsonl"
    for kill in range(3):
        more = [] if kill == 0 else ["resume"]
        lines = len(log.read_bytes().splitlines()) if kill else 0
        process = subprocess.Popen([*START, photos, folder, json.dumps(asdict(config)), *more])
        deadline = time.monotonic() + 120
        while not (log.exists() and len(log.read_bytes().splitlines()) > lines + 3):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
            if kill and log.exists():  # a resumed run first cuts its log back
                lines = min(lines, len(log.read_bytes().splitlines()))
        time.sleep(draw.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (folder / "model.safetensors").exists()
    pretrain(photos, folder, config, resume=True)
    assert losses(folder) == losses(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_saves_and_says_so(workers, photos, make_config, tmp_path):
    config = make_config()
    command = [
        sys.executable, "-m", "mimprobe", "pretrain", "simmim", photos, "-o", tmp_path / "run",
        "--arch", config.arch, "--arch-args", json.dumps(config.arch_args), "--input-size", 32,
        "--mask-patch", 16, "--batch-size", 8, "--epochs", 400, "--workers", workers,
        "--device", "cpu",
    ]  # fmt: skip
    process = subprocess.Popen(
        [*map(str, command)], stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=ONE_THREAD,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(read_log(tmp_path / "run")) < 5:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)  # as SLURM does: workers get it too
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    (line,) = told.splitlines()
    step = int(re.search(r"stopped by SIGTERM after step (\d+) of 1200; the run is saved", line)[1])
    assert "go on with --resume" in line
    assert read_log(tmp_path / "run")[-1]["step"] == step
    assert torch.load(tmp_path / "run" / "checkpoint.pt")["step"] == step


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no checkpoint"])
def test_a_damaged_newest_checkpoint_is_put_aside(damage, photos, make_config, tmp_path):
    run, config = tmp_path / "run", make_config(epochs=3)
    pretrain(photos, run, config)
    before, path = losses(run), run / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    if damage == "flipped":
        for place in range(len(content) // 2, len(content) // 2 + 200):  # more than padding
            content[place] ^= 255
    if damage == "empty":
        content.clear()
    if damage == "no checkpoint":
        content = b"[1, 2]"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt is damaged .* goes on from step 6"):
        pretrain(photos, run, config, resume=True)
    assert losses(run) == before
    assert (run / "checkpoint.damaged").read_bytes() == content
    assert torch.load(run / "checkpoint-previous.pt")["step"] == 6
    assert torch.load(path)["step"] == 9


def test_all_checkpoints_damaged(photos, make_config, tmp_path):
    pretrain(photos, tmp_path / "run", make_config())
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        (tmp_path / "run" / name).write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged \(.+\); delete it"):
        pretrain(photos, tmp_path / "run", make_config(), resume=True)


@pytest.mark.parametrize("at", ["before", "between", "after"])
def test_death_while_checkpoints_change_places(at, photos, make_config, tmp_path):
    """Whole files are renamed one after the other: each state between is resumed from."""
    run, config = tmp_path / "run", make_config(epochs=3)
    pretrain(photos, run, config)
    before = losses(run)
    newest, previous = run / "checkpoint.pt", run / "checkpoint-previous.pt"
    if at == "before":
        newest.replace(run / "checkpoint-next.pt")
        previous.replace(newest)
    if at == "between":
        newest.replace(run / "checkpoint-next.pt")
    (run / ".checkpoint-next.pt.left").write_bytes(b"half of one")
    (run / "model.safetensors").unlink()
    pretrain(photos, run, config, resume=True)
    assert losses(run) == before
    assert not list(run.glob(".*"))


def test_a_full_disk_while_saving_loses_nothing(photos, make_config, tmp_path, monkeypatch):
    config, save = make_config(epochs=3), torch.save

    def no_room(state, file):
        if state["step"] == 6:
            file.write(b"begun")
            raise OSError(28, "No space left on device")
        save(state, file)

    pretrain(photos, tmp_path / "whole", config)
    monkeypatch.setattr(torch, "save", no_room)
    told = r"at step 6 \(No space left on device\); the checkpoint before it is kept: make room"
    with pytest.raises(OutputError, match=told):
        pretrain(photos, tmp_path / "run", config)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "images.json", "log.jsonl", "checkpoint.pt"}
    monkeypatch.undo()
    pretrain(photos, tmp_path / "run", config, resume=True)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_run_goes_on_with_its_own_number_of_threads(photos, make_config, tmp_path, monkeypatch):
    pretrain(photos, tmp_path / "run", make_config())
    path = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(path)
    torch.save({**state, "threads": 3}, path)
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    pretrain(photos, tmp_path / "run", make_config(), resume=True)
    assert asked == [3, state["threads"]]  # and put back


def test_weights_of_an_average_are_exported_on_wish(photos, make_config, tmp_path):
    last = pretrain(photos, tmp_path / "last", make_config(ema_decay=0.9))
    mean = pretrain(photos, tmp_path / "mean", make_config(ema_decay=0.9, export_average=True))
    assert losses(tmp_path / "last") == losses(tmp_path / "mean")
    state = torch.load(tmp_path / "mean" / "checkpoint.pt")
    for path, kind in ((last, "model"), (mean, "average")):
        weights = load_model(path, device="cpu").module.state_dict()
        assert torch.equal(weights["norm.weight"], state[kind]["encoder.norm.weight"])
    assert not torch.equal(
        state["model"]["encoder.norm.weight"], state["average"]["encoder.norm.weight"]
    )


def test_a_run_goes_on_with_other_rates_on_purpose(photos, make_config, tmp_path):
    run = tmp_path / "run"
    pretrain(photos, run, make_config(epochs=1))
    changed = make_config(epochs=1, base_learning_rate=0.01)
    with pytest.raises(OutputError, match=r"other settings \(base_learning_rate 0\.05 -> 0\.01\)"):
        pretrain(photos, run, changed, resume=True)
    with pytest.raises(OutputError, match=r"other settings \(mask_ratio"):
        pretrain(photos, run, make_config(epochs=1, mask_ratio=0.5), resume=True, change_rates=True)
    pretrain(photos, run, changed, resume=True, change_rates=True)
    (line,) = (run / "changes.jsonl").read_text().splitlines()
    assert json.loads(line)["changed"] == ["base_learning_rate 0.05 -> 0.01"]
    pretrain(photos, run, changed, resume=True)


@pytest.mark.slow
def test_a_damaged_image_ends_a_run_whose_workers_ignore_signals(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    damaged = tmp_path / "photos" / "dogs" / "03.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    command = [
        sys.executable, "-m", "mimprobe", "pretrain", "simmim", tmp_path / "photos",
        "-o", tmp_path / "run", "--arch", "vit_tiny_patch16_224", "--arch-args",
        '{"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}', "--input-size", 32,
        "--mask-patch", 16, "--batch-size", 8, "--epochs", 2, "--workers", 2, "--device", "cpu",
        "--cache", "off", "--warmup-epochs", 0,
    ]  # fmt: skip
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=120, env=ONE_THREAD
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "dogs/03.png" in line
    assert line.endswith("repair it, or start anew with --skip-bad-images")


def test_an_interrupted_run_says_how_to_go_on(photos, make_config, tmp_path, monkeypatch):
    take = Engine.take_step

    def take_until(engine, parts, step):
        if step == 4:
            raise KeyboardInterrupt
        return take(engine, parts, step)

    monkeypatch.setattr(Engine, "take_step", take_until)
    with pytest.raises(KeyboardInterrupt, match="same command with --resume goes on from step 3"):
        pretrain(photos, tmp_path / "run", make_config())
