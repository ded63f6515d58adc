"""How many processes decode, and that they change nothing but who does the work."""

import os
from collections import namedtuple

import numpy as np
import pytest
import torch
from together import network, pictures, prepare

import mimprobe
from mimprobe.errors import OptionError
from mimprobe.loop import workers
from mimprobe.zoo.load import load_model


@pytest.fixture
def machine(monkeypatch):
    """A machine of 16 cores and 1 GB of shared memory."""

    def change(cores, shared):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setattr(workers.shutil, "disk_usage", lambda _: usage(shared, 0, shared))

    change(16, 1 << 30)
    return change


def test_few_batches_are_decoded_here(machine):
    assert workers.worker_count(8, 1 << 20, processes=1, busy=0) == 0
    assert workers.worker_count(9, 1 << 20, processes=1, busy=0) == 4


@pytest.mark.parametrize(
    ("cores", "processes", "busy", "count"),
    [(2, 1, 0, 2), (16, 8, 0, 2), (4, 8, 0, 0), (2, 1, 1, 1), (2, 1, 2, 1), (16, 2, 5, 3)],
)
def test_processes_and_networks_share_the_cores(machine, cores, processes, busy, count):
    machine(cores, 1 << 30)
    assert workers.worker_count(100, 1 << 20, processes=processes, busy=busy) == count


def test_batches_in_flight_fit_the_shared_memory(machine):
    """64 MB, as containers have, and batches of 32 images of 224 px: none fits beside another."""
    batch = 32 * 3 * 4 * 224 * 224
    machine(16, 64 << 20)
    assert workers.worker_count(100, batch, processes=1, busy=0) == 1
    assert workers.worker_count(100, 2 * batch, processes=1, busy=0) == 0


def test_size_of_a_batch_counts_each_preprocessing_once():
    one = load_model("random:test_vit", device="cpu")
    same, other = load_model("random:test_vit", device="cpu"), load_model("random:resnet18")
    side = one.preprocessing.input_size[0]
    assert workers.batch_bytes([one, same], 10) == 10 * 12 * side**2
    assert workers.batch_bytes([one, other], 1) == 12 * (side**2 + 224**2)


def test_workers_change_nothing_and_waiting_is_told(tmp_path):
    folder = pictures(tmp_path / "pictures")
    results = [
        mimprobe.probe(
            {"m": network()}, folder, transform=prepare, device="cpu", batch_size=2, workers=count
        )
        for count in (0, 2)
    ]
    for name, table in results[0].items():
        np.testing.assert_array_equal(table["value"], results[1][name]["value"])
    for count, result in zip((0, 2), results, strict=True):
        assert result.manifest["workers"] == count
        assert 0 < result.manifest["seconds_waiting"] < result.manifest["seconds"]


def test_time_of_decoding_is_waiting(tmp_path):
    def slow(image):
        import time

        time.sleep(0.05)
        return prepare(image)

    folder = pictures(tmp_path / "pictures")
    result = mimprobe.probe({"m": network()}, folder, transform=slow, device="cpu", workers=0)
    assert result.manifest["seconds_waiting"] >= 11 * 0.05


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_transform_is_one_line_from_any_process(tmp_path, count):
    folder = pictures(tmp_path / "pictures")
    for transform, told in (
        (lambda image: torch.zeros(3), "gave Tensor of shape \\(3,\\); it must give"),
        (
            lambda image: torch.zeros(3, 32, 32 + image.getpixel((0, 0))[0] % 2),
            r"gave sizes \(3, 32, 3.\) and \(3, 32, 3.\); it must give one size$",
        ),
    ):
        with pytest.raises(OptionError, match=told) as caught:
            mimprobe.probe(
                {"m": network()}, folder, transform=transform, device="cpu", workers=count
            )
        assert "\n" not in str(caught.value)
