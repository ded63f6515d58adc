"""Weight files of every sorry kind: whole and safe, or one clear line."""

import os
import pickle
import zipfile

import pytest
import safetensors.torch
import torch
from torch import nn

from mimprobe.errors import CheckpointError
from mimprobe.zoo.weights import file_sha256, fill, module_sha256, read_weights


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_torch_files_with_and_without_a_top_key(network, tmp_path, wrap):
    content = network.state_dict() if wrap is None else {wrap: network.state_dict(), "epoch": 3}
    torch.save(content, tmp_path / "w.pth")
    tensors, metadata = read_weights(tmp_path / "w.pth")
    assert metadata == {}
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[key], value) for key, value in network.state_dict().items())


def test_safetensors_with_our_metadata(network, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(network.state_dict(), path, {"mimprobe": '{"arch": "x"}'})
    tensors, metadata = read_weights(path)
    assert metadata == {"arch": "x"}
    assert torch.equal(tensors["0.weight"], network[0].weight)


class Evil:
    """Asks the one who unpickles it to make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, zipped):
    evil = Evil(tmp_path / "was-here")
    torch.save({"model": evil}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="because a pickle can run code") as caught:
        read_weights(tmp_path / "w.pth")
    assert "system" in one_line(caught)
    assert not evil.path.exists()


def test_a_plain_pickle_is_refused(tmp_path):
    evil = Evil(tmp_path / "was-here")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": evil}))
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "w.pkl")
    one_line(caught)
    assert not evil.path.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file(network, tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        safetensors.torch.save_file(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="is not a whole .* file") as caught:
        read_weights(path)
    assert str(path) in one_line(caught)


@pytest.mark.parametrize("content", [b"<html><body>404</body></html>", b"\x00" * 64, b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_weights_file(tmp_path, content, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(path) in one_line(caught)


def test_empty_missing_and_folder(tmp_path):
    (tmp_path / "empty.pth").touch()
    for name, told in (
        ("empty.pth", "is empty"),
        ("none.pth", "does not exist"),
        ("", "is a folder"),
    ):
        with pytest.raises(CheckpointError, match=told):
            read_weights(tmp_path / name)


def test_a_zip_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="is not a whole PyTorch file"):
        read_weights(tmp_path / "w.pth")


def test_entries_that_are_no_tensors_are_named(tmp_path):
    torch.save({"a": torch.zeros(1), "epoch": 7}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="entries that are not tensors: epoch"):
        read_weights(tmp_path / "w.pth")
    torch.save([torch.zeros(1)], tmp_path / "l.pth")
    with pytest.raises(CheckpointError, match="holds a list, not tensors by name"):
        read_weights(tmp_path / "l.pth")


def test_fill_is_whole_or_nothing(network):
    state = {key: value + 1 for key, value in network.state_dict().items()}
    before = module_sha256(network)
    wrong = dict(state)
    del wrong["0.bias"]
    wrong["2.extra"] = torch.zeros(1)
    wrong["0.weight"] = torch.zeros(4, 5)
    with pytest.raises(CheckpointError) as caught:
        fill(network, wrong, "some.pth")
    assert one_line(caught) == (
        "some.pth does not fit the architecture, nothing was loaded: 1 missing in the file: "
        "0.bias; 1 unexpected in the file: 2.extra; 1 of another shape: 0.weight (4, 5) for (4, 3)"
        "; name another arch"
    )
    assert module_sha256(network) == before
    assert fill(network, state, "some.pth") == 4
    assert torch.equal(network[0].weight, state["0.weight"])


def test_hashes_change_with_a_single_bit(network, tmp_path):
    before = module_sha256(network)
    with torch.no_grad():
        network[0].bias[0] += 1e-6
    assert module_sha256(network) != before
    (tmp_path / "f").write_bytes(b"a")
    assert file_sha256(tmp_path / "f").startswith("ca978112ca1bbdcafac231b39a23dc4d")
