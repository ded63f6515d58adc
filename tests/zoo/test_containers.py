"""torch's older format and safetensors: truncated, damaged, or claiming what they do not have."""

import json
import pickle
import struct

import pytest
import safetensors.torch
import torch
from zoo.weight_files import (
    OLD,
    Call,
    Memory,
    old_around,
    program_of,
    refusal,
    same,
    save,
    state_dict,
    tensor,
)

from mimprobe.zoo.weights import read_weights

FOUR = struct.pack("<4f", 1, 2, 3, 4)


@pytest.fixture
def old(tmp_path):
    return save({"model": state_dict(), "epoch": 1}, tmp_path / "w.pth", OLD)


@pytest.fixture
def safe(tmp_path):
    safetensors.torch.save_file(state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_that_nothing_can_be_verified_is_stated(old, safe):
    for path in (old, safe):
        file = read_weights(path)
        assert file.checked == "content not verifiable: no checksum inside this format"
        assert same(file.tensors, state_dict())


# --- the older format


@pytest.mark.parametrize("missing", [1, 8, 40])
def test_a_truncated_old_file(old, missing):
    old.write_bytes(old.read_bytes()[:-missing])
    assert "bytes for the tensor memory" in refusal(old)


def test_an_old_file_cut_in_its_pickle(old):
    old.write_bytes(old.read_bytes()[:300])
    assert refusal(old) == "is damaged: its pickle cannot be followed; download it again"


def test_bytes_beyond_the_last_tensor(old):
    old.write_bytes(old.read_bytes() + b"xyz")
    assert refusal(old) == "has 3 bytes beyond its last tensor: damaged; download it again"


def test_bytes_inserted_between_the_tensors(old):
    data = old.read_bytes()
    old.write_bytes(data[:-30] + b"\0\0\0\0" + data[-30:])
    assert "download it again" in refusal(old)


def test_a_plain_pickle(tmp_path):
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": [1.0]}, protocol))
        line = refusal(tmp_path / "w.pkl")
        assert ("is a plain pickle" if protocol < 4 else "pickle instruction") in line


def test_another_version_of_the_format(old):
    data = old.read_bytes()
    assert data.count(pickle.dumps(1001, 2)) == 1
    old.write_bytes(data.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)))
    assert "the version of its format is unknown" in refusal(old)


@pytest.mark.parametrize(
    ("memory", "options", "told"),
    [
        ({"count": 4}, {"shape": (4,)}, None),
        ({"count": 4, "view": ("v", 1, 3)}, {"shape": (3,)}, None),
        (
            {"count": 10**12},
            {"shape": (4,)},
            "claims 4,000,000,000,000 bytes for the tensor memory",
        ),
        ({"count": 3}, {"shape": (3,)}, "the tensor memory '0' has another size than said"),
        ({"count": 4, "key": "7"}, {"shape": (4,)}, "it lists other tensors than it has"),
        ({"count": 4}, {"shape": (5,)}, "claims a tensor of shape (5,) that reaches beyond"),
        ({"count": 4, "view": ("v", 1, 3)}, {"shape": (4,)}, "that reaches beyond the memory"),
        ({"count": 4, "view": ("v", 2, 3)}, {"shape": (3,)}, "asks for a storage with arguments"),
        ({"count": 4, "view": ("v", 1)}, {"shape": (3,)}, "is damaged"),
    ],
)
def test_claims_of_an_old_file(tmp_path, memory, options, told):
    program = program_of({"w": tensor(Memory(OLD, **memory), **options)})
    path = old_around(program, tmp_path / "w.pth", [FOUR])
    if told is None:
        assert tuple(read_weights(path).tensors["w"].shape) == options["shape"]
    else:
        assert told in refusal(path)


def test_memory_that_is_listed_twice_or_never(tmp_path):
    """What is never listed would be handed out as it lay in memory."""
    program = program_of({"w": tensor(Memory(OLD, count=4), shape=(4,))})
    for keys in ([], ["0", "0"], ["0", "1"], [0], "0", {"0": 1}, None):
        blocks = [FOUR] * len(keys or ())
        path = old_around(program, tmp_path / "w.pth", blocks, keys=keys)
        assert "is damaged" in refusal(path), keys


def test_nothing_hides_in_the_other_pickles_of_an_old_file(tmp_path):
    """The file is five pickles; each is followed before torch sees the first."""
    import os

    program = program_of({"w": tensor(Memory(OLD, count=4), shape=(4,))})
    canary = tmp_path / "was-here"
    attack = pickle.dumps(Call(os.system, f"touch {canary}"), 2)
    good = old_around(program, tmp_path / "w.pth", [FOUR]).read_bytes()
    others = [
        pickle.dumps(1001, 2),
        pickle.dumps({"little_endian": True}, 2),
        pickle.dumps(["0"], 2),
    ]
    for other in others:
        assert good.count(other) == 1
        (tmp_path / "w.pth").write_bytes(good.replace(other, attack))
        assert "posix.system" in refusal(tmp_path / "w.pth")
    assert not canary.exists()


# --- safetensors


@pytest.mark.parametrize("missing", [1, 40, 100])
def test_truncated_safetensors(safe, missing):
    safe.write_bytes(safe.read_bytes()[:-missing])
    line = refusal(safe)
    assert line.startswith("is not a whole safetensors file: its header lists")
    assert line.endswith("download it again")


def test_safetensors_cut_in_the_header(safe):
    safe.write_bytes(safe.read_bytes()[:100])
    assert "is not a whole safetensors file: its header claims" in refusal(safe)


def with_header(safe, header, length=None):
    """Write a header of ours before twelve bytes of tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    start = struct.pack("<Q", len(text) if length is None else length)
    safe.write_bytes(start + text + bytes(12))
    return safe


def one(**changes):
    return {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]} | changes}


@pytest.mark.parametrize("length", [10**6, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_huge_length(safe, length):
    assert "is not a whole safetensors file: its header claims" in refusal(
        with_header(safe, one(), length)
    )


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (one(data_offsets=[0, 10**15]), "its header lists 1,000,000,000,000,000 bytes of tensors"),
        (one(shape=[10**9, 10**9]), "is not a whole safetensors file ("),
        (one(shape=[2**63, 2]), "is not a whole safetensors file ("),
        (one(data_offsets=[4, 12]), "is not a whole safetensors file ("),
        (one(data_offsets=[12, 0]), "is not a whole safetensors file ("),
        (one(data_offsets=[-12, 0]), "is not a whole safetensors file ("),
        (one(data_offsets="x"), "is not a whole safetensors file ("),
        (one(dtype="F7"), "is not a whole safetensors file ("),
        (one(shape=[-3]), "is not a whole safetensors file ("),
        ({"w": 1}, "is not a whole safetensors file ("),
        (one() | {"v": one()["w"]}, "is not a whole safetensors file ("),
        (b'{"w"', "is not a whole safetensors file ("),
        (b'{"a":' * 50_000, "is not a whole safetensors file ("),
        ({}, "is not a whole safetensors file ("),
        (one() | {"__metadata__": {"mimprobe": "{"}}, "has damaged mimprobe metadata"),
        (one() | {"__metadata__": {"mimprobe": "[1]"}}, "has damaged mimprobe metadata"),
        (one() | {"__metadata__": {"mimprobe": "[" * 9**6}}, "has damaged mimprobe metadata"),
        (one() | {"__metadata__": {"mimprobe": 1}}, "is not a whole safetensors file ("),
    ],
)  # fmt: skip
def test_headers(safe, header, told):
    assert told in refusal(with_header(safe, header))


def test_a_header_of_ours_that_is_good(safe):
    ours = one() | {"__metadata__": {"mimprobe": '{"arch": "x"}', "other": "y"}}
    file = read_weights(with_header(safe, ours))
    assert file.metadata == {"arch": "x"}
    assert torch.equal(file.tensors["w"], torch.zeros(3))


def test_no_tensors_at_all(tmp_path):
    safetensors.torch.save_file({}, tmp_path / "w.safetensors")
    assert "holds no tensors by name: it has nothing" in refusal(tmp_path / "w.safetensors")
