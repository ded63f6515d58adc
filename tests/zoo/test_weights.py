"""Tensors by name out of somebody's file, and what lies beside them."""

import argparse
import dataclasses
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from zoo.weight_files import (
    FORMS,
    OLD,
    ZIP,
    refusal,
    same,
    save,
    state_dict,
)

from mimprobe.zoo.weights import TOP_KEYS, file_sha256, module_sha256, read_weights

PEAK = Path("/proc/self/clear_refs")


def test_the_record(tmp_path):
    path = save({"model": state_dict(), "epoch": 799}, tmp_path / "w.pth")
    file = read_weights(path)
    assert file.path == path
    assert file.sha256 == file_sha256(path)
    assert file.metadata == {}
    assert file.beside == {"epoch": "int 799"}
    assert "tensors" not in repr(file)
    with pytest.raises(dataclasses.FrozenInstanceError):
        file.top_key = "x"


@FORMS
@pytest.mark.parametrize("top_key", ["", *TOP_KEYS])
def test_files_with_and_without_a_top_key(tmp_path, form, top_key):
    content = {top_key: state_dict(), "args": None} if top_key else state_dict()
    path = save(content, tmp_path / "w.pth", form)
    for asked in (None, top_key):
        file = read_weights(path, top_key=asked)
        assert file.top_key == top_key
        assert file.beside == ({"args": "None"} if top_key else {})
        assert same(file.tensors, state_dict())
        assert all(type(tensor) is torch.Tensor for tensor in file.tensors.values())


@pytest.mark.parametrize("form", [ZIP, OLD, "safetensors"])
def test_loading_into_a_network(tmp_path, form):
    """An OrderedDict with `_metadata`, as `DataParallel` and all others save it."""
    path = tmp_path / "w.pth"
    wrapped = nn.DataParallel(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    assert wrapped.state_dict()._metadata
    if form == "safetensors":
        safetensors.torch.save_file(wrapped.state_dict(), path)
    else:
        save({"state_dict": wrapped.state_dict()}, path, form)
    file = read_weights(path)
    assert all(key.startswith("module.") for key in file.tensors)
    other = nn.DataParallel(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    other.load_state_dict(dict(file.tensors))
    assert module_sha256(other) == module_sha256(wrapped)


@FORMS
def test_tensors_of_every_kind(tmp_path, form):
    weight = nn.Parameter(torch.randn(3, 4))
    marked = torch.ones(3)
    marked.no_decay = True
    owned = nn.Parameter(torch.ones(2))
    owned.no_decay = True
    kinds = {
        "parameter": weight, "tied": weight, "part": weight[1:, ::2], "turned": weight.T,
        "marked": marked, "owned": owned, "empty": torch.empty(0, 3), "scalar": torch.tensor(3),
        "half": torch.ones(2).half(), "bfloat": torch.ones(2).bfloat16(), "flag": torch.ones(2) > 0,
        "bytes": torch.arange(3, dtype=torch.uint8), "double": torch.ones(2).double(),
        "complex": torch.tensor([1 + 2j]).conj(), "expanded": torch.ones(1).expand(9),
    }  # fmt: skip
    if form == ZIP:  # the older format has no place for the younger kinds
        kinds["unsigned"] = torch.ones(2).to(torch.uint16)
        kinds["eight"] = torch.ones(2).to(torch.float8_e4m3fn).view(torch.uint8)
    tensors = read_weights(save(kinds, tmp_path / "w.pth", form)).tensors
    assert tensors.keys() == kinds.keys()
    for key, value in kinds.items():
        assert torch.equal(tensors[key], value), key
        assert tensors[key].dtype == value.dtype
        assert tensors[key].stride() == value.stride()
        assert not tensors[key].requires_grad
        assert type(tensors[key]) is torch.Tensor


def test_what_mimprobes_trainer_wrote(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state_dict(), path, {"mimprobe": '{"arch": "x"}', "other": "y"})
    file = read_weights(path)
    assert file.metadata == {"arch": "x"}
    assert (file.top_key, file.beside) == ("", {})
    assert same(file.tensors, state_dict())


# --- which entry holds the tensors


def test_the_first_of_the_usual_entries_that_has_tensors(tmp_path):
    both = {"teacher": state_dict(), "model": state_dict(), "student": state_dict()}
    path = save(both, tmp_path / "w.pth")
    assert read_weights(path).top_key == "model"
    assert read_weights(path, top_key="teacher").top_key == "teacher"
    assert read_weights(path, top_key="student").beside["teacher"] == "OrderedDict of 7"
    named = {"model": "vit_small", "state_dict": {"lr": 0.1}, "teacher": state_dict()}
    file = read_weights(save(named, tmp_path / "w.pth"))
    assert file.top_key == "teacher"
    assert file.beside == {"model": "str 'vit_small'", "state_dict": "dict of 1"}


def test_a_layer_may_be_called_model(tmp_path):
    path = save({"model": torch.ones(2), "state_dict": torch.ones(3)}, tmp_path / "w.pth")
    assert read_weights(path).top_key == ""
    assert read_weights(path).tensors.keys() == {"model", "state_dict"}


def test_a_top_key_that_is_not_there(tmp_path):
    path = save({"model": state_dict(), "epoch": 3, "args": None}, tmp_path / "w.pth")
    assert refusal(path, top_key="ema") == (
        "has no entry 'ema' at its top; it has model (OrderedDict of 7), epoch (int 3), args (None)"
    )
    assert refusal(path, top_key="epoch") == (
        "holds no tensors by name: its entry 'epoch' is int 3, and it has model (OrderedDict of "
        "7), epoch (int 3), args (None); tensors lie under 'model': name that top key"
    )
    assert "entries that are not tensors: model (OrderedDict of 7), epoch" not in refusal(
        path, top_key=""
    )
    assert refusal(path, top_key="").startswith("holds no tensors by name: it has model (Ordered")
    safetensors.torch.save_file(state_dict(), tmp_path / "w.safetensors")
    assert refusal(tmp_path / "w.safetensors", top_key="model").startswith(
        "has no entry 'model' at its top; it has 0.bias (tensor of (4,)), "
    )


def test_tensors_under_an_unusual_key(tmp_path):
    path = save({"model_ema": state_dict(), "net": state_dict(), "epoch": 3}, tmp_path / "w.pth")
    assert refusal(path) == (
        "holds no tensors by name: it has model_ema (OrderedDict of 7), net (OrderedDict of 7), "
        "epoch (int 3); tensors lie under 'model_ema', 'net': name that top key"
    )


def test_entries_that_are_no_tensors_are_named(tmp_path):
    mixed = state_dict() | {"epoch": 7, "extra": None, "args": argparse.Namespace(a=1)}
    told = "holds entries that are not tensors: epoch (int 7), extra (None), args (argparse.Namesp"
    assert refusal(save(mixed, tmp_path / "w.pth")).startswith(told)
    assert refusal(save({"model": mixed}, tmp_path / "w.pth")).startswith(told)
    assert "not tensors: 3 (tensor of (1,))" in refusal(
        save({"a": torch.ones(1), 3: torch.ones(1)}, tmp_path / "w.pth")
    )
    many = state_dict() | {f"n{number}": number for number in range(20)}
    assert "n5 (int 5) and 14 more; expected a state dict, or one under" in refusal(
        save(many, tmp_path / "w.pth")
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([torch.zeros(1)], "holds list of 1, not tensors by name; save a state dict"),
        (torch.zeros(1), "holds tensor of (1,), not tensors by name"),
        (None, "holds None, not tensors by name"),
        ("x" * 999, f"holds str {'x' * 50!r}, not tensors by name"),
        (argparse.Namespace(a=1), "holds argparse.Namespace, not tensors by name"),
        ({}, "holds no tensors by name: it has nothing; save a state dict"),
        (OrderedDict(), "holds no tensors by name: it has nothing"),
        ({"model": {}}, "holds no tensors by name: it has model (dict of 0)"),
        ({"a\nb": 1, "\x1b[31m": 2}, "by name: it has a\N{REPLACEMENT CHARACTER}b"),
        ({"a" * 10**6: 0.5, "b": 1}, f"it has {'a' * 60} (float 0.5), b (int 1); save a state"),
        ({"a": 10**600}, "holds no tensors by name: it has a (int 1000"),
    ],
)  # fmt: skip
@FORMS
def test_contents_that_are_no_state_dict(tmp_path, form, content, told):
    assert told in refusal(save(content, tmp_path / "w.pth", form))


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = save(state_dict(), tmp_path / "w.pth")

    def meanwhile(path):
        with path.open("ab") as file:
            file.write(b"more")
        return "0" * 64

    monkeypatch.setattr("mimprobe.zoo.weights.file_sha256", meanwhile)
    assert refusal(path) == "changed while it was read; try again when it is complete"


def test_hashes_change_with_a_single_bit(tmp_path):
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    before = module_sha256(network)
    with torch.no_grad():
        network[0].bias[0] += 1e-6
    assert module_sha256(network) != before
    (tmp_path / "f").write_bytes(b"a")
    assert file_sha256(tmp_path / "f").startswith("ca978112ca1bbdcafac231b39a23dc4d")


@pytest.mark.parametrize("form", [ZIP, OLD, "safetensors"])
def test_reading_needs_no_more_memory_than_the_file(tmp_path, form):
    """Weights, and as much again of optimizer state, which only the older format has to read."""
    if not os.access(PEAK, os.W_OK):
        pytest.skip("no /proc to measure the peak with")
    path = tmp_path / "w.pth"
    half = {f"{number}": torch.full((1 << 19,), float(number)) for number in range(12)}
    if form == "safetensors":
        other = {f"o{key}": value + 1 for key, value in half.items()}
        safetensors.torch.save_file(half | other, path)
    else:
        state = [value + 1 for value in half.values()]
        save({"model": half, "optimizer": {"state": state}}, path, form)
    size = path.stat().st_size
    assert size > 48 << 20
    before = _memory("VmRSS")
    PEAK.write_text("5")  # it starts again from here
    weights = read_weights(path)
    grown = _memory("VmHWM") - before
    assert len(weights.tensors) in (12, 24)
    assert grown < size * (1.3 if form == OLD else 0.3)


def _memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) << 10


def test_a_safetensors_file_whatever_the_length_of_its_header(tmp_path):
    """Its first byte is that of the length, 0x80 among them, with which a pickle begins."""
    firsts = set()
    for size in range(32):
        path = tmp_path / f"{size}.safetensors"
        safetensors.torch.save_file({"x": torch.ones(2)}, path, {"note": "a" * 8 * size})
        firsts.add(path.read_bytes()[0])
        assert read_weights(path).tensors["x"].tolist() == [1.0, 1.0]
        path.with_suffix(".bin").write_bytes(path.read_bytes())
        assert read_weights(path.with_suffix(".bin")).tensors["x"].tolist() == [1.0, 1.0]
    assert firsts == set(range(0, 256, 8))
