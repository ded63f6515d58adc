"""What a path leads to and what a file is, when it is no weights file: each its own clear line."""

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import pathlib
import socket
import tarfile
import zipfile

import numpy
import pytest
import safetensors.torch
import torch
from zoo.weight_files import refusal, save, state_dict

from mimprobe.zoo.weights import read_weights

SUFFIXES = pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])


# --- paths


def test_a_missing_file_and_its_nearest_name(tmp_path):
    assert refusal(tmp_path / "w.pth") == "does not exist; check the path"
    (tmp_path / "mae_vit_base.pth").touch()
    (tmp_path / "other.txt").touch()
    assert refusal(tmp_path / "mae_vit_bse.pth") == (
        "does not exist; did you mean 'mae_vit_base.pth'?"
    )
    folder = tmp_path / "no" / "where"
    assert refusal(folder / "w.pth") == (
        f"does not exist, nor does its folder {folder}; check the path"
    )


def test_a_missing_file_among_very_many(tmp_path):
    for number in range(2100):
        (tmp_path / f"{number}.txt").touch()
    assert refusal(tmp_path / "weights.pth").startswith("does not exist")


def test_a_folder(tmp_path):
    assert refusal(tmp_path) == "is a folder, not a file; name the weights file in it"


def test_a_file_below_a_file(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"x")
    line = refusal(tmp_path / "w.pth" / "x.pth")
    assert line == "does not exist, because a part of its path is a file; check the path"


def test_a_broken_link_and_a_loop(tmp_path):
    (tmp_path / "broken.pth").symlink_to(tmp_path / "gone.pth")
    line = refusal(tmp_path / "broken.pth")
    assert line == (
        f"is a link to {tmp_path / 'gone.pth'}, which does not exist; name the file itself"
    )
    (tmp_path / "a.pth").symlink_to(tmp_path / "b.pth")
    (tmp_path / "b.pth").symlink_to(tmp_path / "a.pth")
    line = refusal(tmp_path / "a.pth")
    assert line == "is a link that leads back to itself; name the file itself"
    (tmp_path / "up").symlink_to(tmp_path / "up", target_is_directory=True)
    assert "leads back to itself" in refusal(tmp_path / "up" / "w.pth")


def test_a_good_link_is_followed(tmp_path):
    save(state_dict(), tmp_path / "w.pth")
    (tmp_path / "link.pth").symlink_to("w.pth")
    assert read_weights(tmp_path / "link.pth").path == tmp_path / "link.pth"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_sockets_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    line = refusal(tmp_path / "pipe.pth")
    assert line == "is a pipe (FIFO), not a file; name a weights file"
    assert refusal(pathlib.Path("/dev/zero")) == "is a device, not a file; name a weights file"
    with socket.socket(socket.AF_UNIX) as listening:
        here = pathlib.Path.cwd()
        os.chdir(tmp_path)  # the name of a socket must be short
        try:
            listening.bind("s.pth")
        finally:
            os.chdir(here)
        assert refusal(tmp_path / "s.pth") == "is a socket, not a file; name a weights file"


def test_an_unreadable_file(tmp_path, monkeypatch):
    path = save(state_dict(), tmp_path / "w.pth")
    told = "may not be read by you (permission denied); ask its owner, or chmod u+r it"
    if os.geteuid() != 0:
        path.chmod(0)
        assert refusal(path) == told

    def denied(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "open", denied)
    assert refusal(path) == told
    monkeypatch.setattr(pathlib.Path, "stat", denied)
    assert refusal(path) == told


def test_a_disk_that_fails_while_it_is_read(tmp_path, monkeypatch):
    path = save(state_dict(), tmp_path / "w.pth")

    def fails(self, *_, **__):
        raise OSError(errno.EIO, "Input/output error", str(self))

    monkeypatch.setattr(pathlib.Path, "open", fails)
    assert refusal(path) == "cannot be read (Input/output error); check the path"


@pytest.mark.parametrize("name", ["a\0b.pth", "x" * 300 + ".pth"])
def test_names_that_no_system_takes(tmp_path, name):
    line = refusal(tmp_path / name)
    assert "cannot be read (" in line


def test_names_that_would_break_the_line(tmp_path):
    path = tmp_path / "a\nb\x1b[31m.pth"
    assert "does not exist" in refusal(path)
    path.write_bytes(b"<html>\n<title>Not\nFound</title>")
    assert "HTML page ('Not Found')" in refusal(path)


def test_an_empty_file(tmp_path):
    (tmp_path / "w.pth").touch()
    assert refusal(tmp_path / "w.pth") == "is empty (0 bytes); download it again"


# --- contents


LFS = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 343230000
"""


def archive(kind):
    """A small archive that holds a README."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as made:
            made.writestr("README.md", "hello " * 50)
            made.writestr("weights/w.pth", "x")
    elif kind == "npz":
        numpy.savez(buffer, a=numpy.ones(3), b=numpy.ones(2))
    elif kind == "keras":
        with zipfile.ZipFile(buffer, "w") as made:
            for name in ("metadata.json", "config.json", "model.weights.h5"):
                made.writestr(name, "{}")
    elif kind == "empty zip":
        zipfile.ZipFile(buffer, "w").close()
    else:
        with tarfile.open(fileobj=buffer, mode=f"w{kind}") as made:
            data = b"hello"
            info = tarfile.TarInfo("README.md")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def array():
    buffer = io.BytesIO()
    numpy.save(buffer, numpy.ones(3))
    return buffer.getvalue()


def onnx():
    """The first fields of a ModelProto: the version, and who wrote it."""
    return b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x10" + bytes(range(256))


PAGE = (
    b"<!DOCTYPE html>\n<html><head><meta charset='utf-8'>"
    b"<title>Google Drive - Virus scan warning</title></head><body>x</body></html>"
)

CONTENTS = {
    "page": (PAGE, "is an HTML page ('Google Drive - Virus scan warning'), not weights; check"),
    "plain page": (b"<html><body><h1>404</h1> Not &amp; found</body>", "('404 Not & found')"),
    "silent page": (b"<html></html>", "is an HTML page (without a title), not weights"),
    "late page": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<html><title>X", "an HTML page ('X')"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is XML, not weig"),
    "lfs": (LFS, "is a Git LFS pointer for a file of 343,230,000 bytes, not the file itself; run "
            "'git lfs pull'"),
    "cut lfs": (LFS[:60], "is a Git LFS pointer, not the file itself; run 'git lfs pull'"),
    "json": (json.dumps({"weight_map": {}}).encode(), "is JSON, not weights (it begins '{\"weig"),
    "text": ("Zu viele Zugriffe, bitte später: 3 €".encode() * 300, "is text, not weights (it be"),
    "line": (b"404: Not Found", "is text, not weights (it begins '404: Not Found'); download it"),
    "tar.gz": (archive(":gz"), "is compressed with gzip (a .tar.gz?); unpack it and name the wei"),
    "gz": (gzip.compress(b"x" * 99), "is compressed with gzip"),
    "bz2": (bz2.compress(b"x" * 99), "is compressed with bzip2; unpack it"),
    "xz": (lzma.compress(b"x" * 99), "is compressed with xz; unpack it"),
    "zst": (b"\x28\xb5\x2f\xfd\x04\x00", "is compressed with Zstandard; unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(99), "is a 7-Zip archive; unpack it and name"),
    "rar": (b"Rar!\x1a\x07\x01\x00" + bytes(99), "is a RAR archive; unpack it and name"),
    "tar": (archive(""), "is a tar archive; unpack it and name the weights file inside"),
    "zip": (archive("zip"), "is a zip archive of other things (README.md, weights/w.pth), not a "
            "whole PyTorch file; unpack it"),
    "npz": (archive("npz"), "is a NumPy archive (.npz), not a PyTorch file; save its arrays as a"),
    "keras": (archive("keras"), "is a Keras model, not a PyTorch file; convert it to a state dict"),
    "empty zip": (archive("empty zip"), "is an empty zip archive; download it again"),
    "npy": (array(), "is one NumPy array (.npy), not tensors by name; save a state dict"),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as Keras writes them; mimprobe r"),
    "onnx": (onnx(), "seems to be an ONNX model; convert it to a PyTorch state dict with its own"),
    "saved model": (b"\x08\x01\x12\xb7\x80\x05\n" + bytes(range(99)), "seems to be a TensorFlow"),
    "tflite": (b"\x1c\0\0\0TFL3\x14\0" + bytes(99), "is a TensorFlow Lite model; convert it"),
    "index": (b"\0\0\1header" + bytes(60) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
              "is a part of a TensorFlow checkpoint; convert it"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(99), "is a GGUF file; mimprobe reads PyTorch's"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is a PNG image, not weights"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "is a JPEG image, not weights"),
    "zeros": (bytes(64), "begins with the bytes 00 00 00 00 00 00 00 00, as neither a PyTorch nor"),
    "one byte": (b"\xff", "begins with the bytes ff, as neither"),
    "noise": (bytes(range(255, 0, -1)), "begins with the bytes ff fe fd fc fb fa f9 f8, as neit"),
    "head of a zip": (b"PK\x03\x04", "is a truncated or damaged zip, not a whole PyTorch file"),
    "head of a pickle": (b"\x80", "is damaged: its pickle cannot be followed"),
}  # fmt: skip


@SUFFIXES
@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_weights_file(tmp_path, suffix, name):
    content, told = CONTENTS[name]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert told in refusal(path)


def test_a_part_of_a_tensorflow_checkpoint_by_its_name(tmp_path):
    path = tmp_path / "model.ckpt-1000.data-00000-of-00001"
    path.write_bytes(numpy.random.default_rng(0).random(99).tobytes())
    assert refusal(path).startswith("is a part of a TensorFlow checkpoint")


def test_a_tar_with_the_name_that_moco_gave_its_files(tmp_path):
    """`.pth.tar` is mostly no tar; the content decides."""
    path = save({"state_dict": state_dict()}, tmp_path / "moco_v2_800ep_pretrain.pth.tar")
    assert read_weights(path).top_key == "state_dict"
    path.write_bytes(archive(""))
    assert refusal(path).startswith("is a tar archive")


def test_every_form_is_known_by_its_content_not_by_its_name(tmp_path):
    for number, name in enumerate(("w.safetensors", "w.pth", "w.bin", "w")):
        folder = tmp_path / str(number)
        folder.mkdir()
        for form in ("zip", "old"):
            assert read_weights(save(state_dict(), folder / name, form)).tensors
        safetensors.torch.save_file(state_dict(), folder / name)
        assert read_weights(folder / name).tensors


@pytest.mark.filterwarnings("ignore")
def test_torchscript(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "w.pt")
    assert refusal(tmp_path / "w.pt") == (
        "is a TorchScript archive (a program with weights), not a state dict; on a machine where "
        "you trust it, save torch.jit.load(...).state_dict()"
    )
