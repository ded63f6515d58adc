"""Several processes train the network that one trains: same global batch, same losses."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from runs import losses, read_log, run_together, varying

from mimprobe.errors import OptionError
from mimprobe.loop.processes import Processes
from mimprobe.train.fit import pretrain
from mimprobe.train.objectives import OBJECTIVES
from mimprobe.train.shares import Shares

pytestmark = pytest.mark.slow

CASES = {
    "float64": ({"precision": "float64"}, 1e-9),
    "float32": ({"precision": "float32"}, 1e-5),
    "parts": ({"precision": "float64", "accumulate": 2}, 1e-9),
    "fsdp": ({"precision": "float64", "parallel": "fsdp"}, 1e-9),
    "average": ({"precision": "float64", "parallel": "fsdp", "ema_decay": 0.9}, 1e-9),
}


@pytest.fixture(scope="module")
def alone(photos, tmp_path_factory):
    """Losses, checkpoint and average of one process by masks and precision."""
    known = {}

    def of(kind, config):
        key = (kind, config.precision, config.ema_decay)
        if key not in known:
            folder = tmp_path_factory.mktemp("alone") / "run"
            before = OBJECTIVES["simmim"]
            OBJECTIVES["simmim"] = varying() if kind == "varying" else before
            try:
                pretrain(photos, folder, config)
            finally:
                OBJECTIVES["simmim"] = before
            known[key] = folder
        return known[key]

    return of


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["simmim", "varying"])
def test_two_processes_have_the_losses_of_one(case, kind, alone, photos, make_config, tmp_path):
    changes, tolerance = CASES[case]
    config = make_config(epochs=10, drop_path=0.0, **changes)
    one = alone(kind, make_config(epochs=10, drop_path=0.0, **{**changes, "accumulate": 1}))
    done = run_together(2, photos, tmp_path / "two", json.dumps(asdict(config)), kind)
    assert done.returncode == 0, done.stderr
    assert len(losses(one)) == 30
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(one), rtol=0, atol=tolerance)
    for name in ("learning_rate", "gradient_norm"):
        found, expected = (
            [line[name] for line in read_log(run)] for run in (tmp_path / "two", one)
        )
        np.testing.assert_allclose(found, expected, rtol=100 * tolerance)
    mine, theirs = (torch.load(run / "checkpoint.pt") for run in (tmp_path / "two", one))
    assert mine["processes"] == 2
    for part in ("model", "average"):
        assert mine[part].keys() == theirs[part].keys()
        for key, value in theirs[part].items():
            assert (value - mine[part][key]).abs().max() < 100 * tolerance, key


@pytest.mark.parametrize("saved_by", [1, 2])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_goes_on_in_another_number_of_processes(
    saved_by, parallel, photos, make_config, tmp_path
):
    config = make_config(
        epochs=4, drop_path=0.0, precision="float64", parallel=parallel, ema_decay=0.5
    )
    settings = json.dumps(asdict(config))
    pretrain(photos, tmp_path / "whole", config)
    for processes in (saved_by, 3 - saved_by):
        more = ["resume"] if processes != saved_by else []
        done = run_together(processes, photos, tmp_path / "run", settings, *more)
        assert done.returncode == 0, done.stderr
        if not more:  # back to the middle of the run
            (tmp_path / "run" / "checkpoint.pt").unlink()
            (tmp_path / "run" / "model.safetensors").unlink()
    assert len(losses(tmp_path / "run")) == 12
    np.testing.assert_allclose(
        losses(tmp_path / "run"), losses(tmp_path / "whole"), rtol=0, atol=1e-9
    )


def test_an_error_of_one_process_ends_all_in_one_line(photos, make_config, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    for path in list((tmp_path / "photos").glob("*/*.png"))[::5]:
        path.write_bytes(b"no image")
    settings = json.dumps(asdict(make_config(batch_size=2)))
    done = run_together(2, tmp_path / "photos", tmp_path / "run", settings)
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("ImageError")]
    assert len(told) == 1, done.stderr
    assert "is not an image" in told[0]


def test_a_batch_that_does_not_divide(photos, make_config):
    group = Processes()
    group.size = 3
    with pytest.raises(OptionError, match="a batch of 8 does not divide among 3 processes"):
        Shares(24, make_config(), group)
