"""A run that is watched: the same losses, the same tables as a probe, and exact resumption."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from mimprobe.analyzers import Cka
from mimprobe.data.images import open_images
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import ImageError, OptionError, OutputError, UnknownNameError
from mimprobe.loop import probe
from mimprobe.progress import Progress
from mimprobe.report import write_report
from mimprobe.tables import FINAL_COLUMNS, Result, read_result
from mimprobe.train import board as board_file
from mimprobe.train import checkpoint
from mimprobe.train.board import Board
from mimprobe.train.fit import pretrain
from mimprobe.train.objectives import SimMIM
from mimprobe.train.preprocessing import preprocessing_of
from mimprobe.train.watching import Watch
from mimprobe.zoo.load import load_model

STEPS = [0, 2, 4, 6]


def make_watch(config, images, directory, last):
    return Watch(
        config, images, directory, last=last, board=Board(config, directory), kind="mim",
        preprocessing=preprocessing_of(torch.nn.Identity(), config),
    )  # fmt: skip


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def same_tables(one, other):
    assert list(one) == list(other)
    for name in one:
        pd.testing.assert_frame_equal(
            one[name].reset_index(drop=True), other[name].reset_index(drop=True)
        )


@pytest.fixture
def watched(photos, make_config, tmp_path):
    pretrain(photos, tmp_path / "run", make_config(probe_every=2, probe_limit=8))
    return tmp_path / "run"


def test_a_watched_run_has_the_losses_and_weights_of_one_that_is_not(
    watched, photos, make_config, tmp_path
):
    pretrain(photos, tmp_path / "plain", make_config())
    assert losses(watched) == losses(tmp_path / "plain")
    one, other = (load_model(tmp_path / name / "model.safetensors", device="cpu").module
                  for name in ("run", "plain"))  # fmt: skip
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert not (tmp_path / "plain" / "probe").exists()


def test_the_last_step_has_the_tables_of_a_probe_of_the_weights(watched, photos):
    found = read_result(watched / "probe")
    assert list(found) == ["attention_distance", "attention_entropy", "head_kl", "cka_to_final"]
    for name, table in found.items():
        assert sorted(table["step"].unique()) == STEPS, name
        assert set(table["model"]) == {"run"}
    images = open_images(photos, limit=8)
    after = probe(load_model(watched / "model.safetensors", device="cpu"), images, device="cpu",
                  analyzers=["attention_distance", "attention_entropy", "head_kl"])  # fmt: skip
    for name in after:
        last = found[name][found[name]["step"] == 6].drop(columns=["step", "model"])
        wanted = after[name].drop(columns=["model"])
        pd.testing.assert_frame_equal(last.reset_index(drop=True), wanted, rtol=1e-9)
    assert found.manifest["watched"]["times"] == 4
    assert found.manifest["images"]["n"] == 8


def test_cka_to_final_is_the_cka_of_a_layer_then_and_at_the_end(photos, make_config, tmp_path):
    """Against hooks and a CKA of their own on the same images."""
    config, images = make_config(probe_every=3, probe_limit=8), open_images(photos)
    torch.manual_seed(0)
    encoder = SimMIM(config, []).encoder
    watch = make_watch(config, images, tmp_path, last=6)
    drawn = open_images(photos, limit=8).ids
    pixels = torch.stack([_prepared(images[images.ids.index(name)]) for name in drawn])
    features = {}
    for step in (0, 3, 6):
        watch(step, encoder)
        features[step] = _mean_patches(copy.deepcopy(encoder), pixels)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
    table = read_result(tmp_path / "probe")["cka_to_final"]
    assert list(table.columns) == list(FINAL_COLUMNS)
    for row in table.to_dict("records"):
        wanted = _cka(features[row["step"]][row["layer"]], features[6][row["layer"]])
        assert row["value"] == pytest.approx(wanted, abs=1e-5)
        assert row["se"] > 1e-6 or row["step"] == 6
    assert len(table) == 6
    assert table.query("step == 0")["value"].max() < 0.99


def _prepared(image):
    return Preprocessing(
        (32, 32), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 1.0
    ).transform()(image)


def _mean_patches(module, pixels):
    found = []
    handles = [
        block.register_forward_hook(lambda _, __, out: found.append(out[:, 1:].double().mean(1)))
        for block in module.blocks
    ]
    with torch.no_grad():
        module.eval()(pixels)
    for handle in handles:
        handle.remove()
    return [features.numpy() for features in found]


def _cka(x, y):
    """Unbiased linear CKA with loops, as Song et al. (2012) write HSIC_1."""

    def hsic(k, m):
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        one = np.ones(n)
        return (
            np.trace(k @ m)
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ m @ one)
        ) / (n * (n - 3))

    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_watched_run_that_died_goes_on_to_the_same_tables(
    stop, watched, photos, make_config, tmp_path, monkeypatch
):
    config = make_config(probe_every=2, probe_limit=8, checkpoint_minutes=0.0)
    save = checkpoint.save_checkpoint

    def save_until(directory, state):
        if state["step"] <= stop:
            save(directory, state)

    def die_after(self, step, encoder):
        if step == stop + 2 or step == 6:
            raise RuntimeError("killed")
        look(self, step, encoder)

    look = Watch.__call__
    monkeypatch.setattr(checkpoint, "save_checkpoint", save_until)
    monkeypatch.setattr(Watch, "__call__", die_after)
    killed = tmp_path / "again" / "run"
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(photos, killed, config)
    monkeypatch.undo()
    pretrain(photos, killed, config, resume=True)
    assert losses(killed) == losses(watched)
    same_tables(read_result(killed / "probe"), read_result(watched / "probe"))


def test_what_was_watched_after_the_checkpoint_is_dropped(watched, photos, make_config):
    """Also where the steps that are watched now are others than then."""
    config, images = make_config(probe_every=5, probe_limit=8), open_images(photos)
    model = SimMIM(config, [])
    watch = make_watch(config, images, watched, last=10)
    watch(3, model.encoder)
    watch(5, model.encoder)
    found = read_result(watched / "probe")
    assert sorted(found["head_kl"]["step"].unique()) == [0, 2, 5]
    assert "cka_to_final" not in found
    assert len(list((watched / "probe" / "features").iterdir())) == 3


def test_the_encoder_is_left_as_it_was(photos, make_config, tmp_path):
    config, images = make_config(probe_every=1, probe_limit=8), open_images(photos)
    model = SimMIM(config, []).train()
    model.encoder.blocks[0].eval()
    next(model.encoder.parameters()).requires_grad_(requires_grad=False)
    pixels, mask = torch.randn(2, 3, 32, 32), torch.ones(2, 4, 4, dtype=torch.bool)
    model(pixels, mask).backward()
    before = {name: (part.training, [p.grad for p in part.parameters(recurse=False)],
                     [p.requires_grad for p in part.parameters(recurse=False)])
              for name, part in model.named_modules()}  # fmt: skip
    generator = torch.get_rng_state()
    watch = make_watch(config, images, tmp_path, last=9)
    watch(0, model.encoder)
    assert torch.equal(torch.get_rng_state(), generator)
    for name, part in model.named_modules():
        training, gradients, flags = before[name]
        assert part.training is training, name
        assert [p.requires_grad for p in part.parameters(recurse=False)] == flags
        for now, then in zip(part.parameters(recurse=False), gradients, strict=True):
            assert now.grad is then
        assert not part._forward_hooks, name
    model(pixels, mask).backward()


def test_a_report_of_a_watched_run(watched):
    page = write_report(read_result(watched / "probe"), watched / "probe").read_text()
    assert "run during training" in page
    assert "from step" in page
    assert (watched / "probe" / "figures" / "cka_to_final_steps.png").stat().st_size > 5000
    assert "Claims of Xie" not in page


def test_watching_goes_on_beside_a_report(photos, make_config, tmp_path):
    settings = {"probe_every": 3, "probe_limit": 8, "probe_analyzers": "head_kl"}
    pretrain(photos, tmp_path, make_config(**settings))
    probe_folder = tmp_path / "probe"
    write_report(read_result(probe_folder), probe_folder)
    config = make_config(**settings)
    watch = make_watch(config, open_images(photos), tmp_path, last=8)
    watch(8, SimMIM(config, []).encoder)
    write_report(read_result(probe_folder), probe_folder, overwrite=True)
    assert sorted(read_result(probe_folder)["cka_to_final"]["step"].unique()) == [0, 3, 6, 8]


def test_bad_input_is_one_line(photos, make_config, tmp_path):
    for changes, error, told in (
        ({"probe_analyzers": "attention_distanse"}, UnknownNameError, "did you mean 'attention_d"),
        ({"probe_images": str(tmp_path / "nowhere")}, ImageError, "nowhere"),
    ):
        with pytest.raises(error, match=told):
            pretrain(photos, tmp_path / "run", make_config(probe_every=2, **changes))
    with pytest.raises(OptionError, match="probe_every must be at least 0, not -1"):
        make_config(probe_every=-1)
    assert not (tmp_path / "run").exists()


def test_other_images_and_damaged_tables_are_refused(watched, photos, make_config):
    config = make_config(probe_every=2, probe_limit=7)
    model = SimMIM(config, [])
    watch = make_watch(config, open_images(photos), watched, last=8)
    with pytest.raises(OutputError, match="watched on other images; watch the same ones"):
        watch(8, model.encoder)
    (watched / "probe" / "head_kl.csv").write_bytes(b"")
    watch = make_watch(config, open_images(photos), watched, last=8)
    with pytest.raises(OutputError, match="are damaged; move that folder away"):
        watch(8, model.encoder)


def test_the_board_shows_losses_and_layers(photos, make_config, tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = make_config(probe_every=3, probe_limit=8, tensorboard=True)
    pretrain(photos, tmp_path / "run", config)
    shown = reading.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in shown.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in shown.Scalars("loss")] == pytest.approx(
        losses(tmp_path / "run"), rel=1e-6
    )
    distances = shown.Scalars("attention_distance/layer 2")
    assert [event.step for event in distances] == [0, 3, 6]
    table = read_result(tmp_path / "run" / "probe")["attention_distance"]
    wanted = table.query("metric == 'attention_distance' and layer == 1 and head.isna()")["value"]
    assert [event.value for event in distances] == pytest.approx(list(wanted), rel=1e-6)


def test_a_board_that_is_not_installed_is_one_line(photos, make_config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(OptionError, match=r"pip install 'mimprobe\[tensorboard\]', or leave out"):
        pretrain(photos, tmp_path / "run", make_config(tensorboard=True))
    assert not (tmp_path / "run").exists()
    assert board_file.Board(make_config(), tmp_path).folder.name == "tensorboard"


def test_a_bar_within_a_bar_is_not_shown(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress("outer", 1, unit="images") as outer:
        with Progress("inner", 1, unit="images") as inner:
            assert inner._bar.disable
            assert not outer._bar.disable
    with Progress("next", 1, unit="images") as later:
        assert not later._bar.disable


def test_cka_is_watched_too_but_has_no_lines(photos, make_config, tmp_path):
    config = make_config(probe_every=3, probe_limit=8, probe_analyzers="cka, effective_rank")
    pretrain(photos, tmp_path / "run", config)
    found = read_result(tmp_path / "run" / "probe")
    assert list(found) == [Cka.name, "effective_rank", "cka_to_final"]
    assert isinstance(found, Result)
    page = write_report(found, tmp_path / "run" / "probe").read_text()
    assert "effective_rank_steps.png" in page
    assert "singular_value" not in {path.stem for path in (tmp_path / "run" / "probe").rglob("*")}


TOGETHER = """
import sys
from pathlib import Path
import torch
from mimprobe.data.images import open_images
from mimprobe.train.board import Board
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives import SimMIM
from mimprobe.train.preprocessing import preprocessing_of
from mimprobe.train.watching import Watch

photos, directory = sys.argv[1], Path(sys.argv[2])
config = TrainConfig(
    "simmim", "vit_tiny_patch16_224", 32, mask_patch=16, probe_every=1, probe_limit=8, device="cpu",
    arch_args={"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
)
torch.manual_seed(0)
encoder = SimMIM(config, []).encoder
watch = Watch(
    config, open_images(photos), directory, last=2, board=Board(config, directory), kind="mim",
    preprocessing=preprocessing_of(encoder, config),
)
for step in range(3):
    watch(step, encoder)
    with torch.no_grad():
        encoder.pos_embed.add_(0.2)
"""


@pytest.mark.slow
def test_two_processes_that_watch_write_the_tables_of_one(photos, tmp_path):
    (tmp_path / "script.py").write_text(TOGETHER)
    for size in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size),
                   tmp_path / "script.py", photos, tmp_path / str(size) / "run"]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*map(str, command)], env=environment, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = (read_result(tmp_path / str(size) / "run" / "probe") for size in (1, 2))
    assert list(one) == list(two)
    for name in one:
        pd.testing.assert_frame_equal(one[name], two[name], rtol=0, atol=1e-9)
    assert (one.manifest["processes"], two.manifest["processes"]) == (1, 2)
