"""Weight files for the tests, whole and of every sorry kind, byte by byte where it matters."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import pytest
import torch

from mimprobe.errors import CheckpointError
from mimprobe.zoo.containers import OLD_MAGIC
from mimprobe.zoo.weights import read_weights

ZIP, OLD = "zip", "old"
FORMS = pytest.mark.parametrize("form", [ZIP, OLD])


def state_dict():
    """A state dict as nn.Module gives it: an OrderedDict with `_metadata`, two sizes, a buffer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    return network.state_dict()


def same(tensors, expected):
    """Whether two state dicts are equal, NaN for NaN."""
    return tensors.keys() == expected.keys() and all(
        tensors[key].dtype == value.dtype
        and tensors[key].shape == value.shape
        and torch.equal(tensors[key].nan_to_num(7.5), value.nan_to_num(7.5))
        for key, value in expected.items()
    )


def save(content, path, form=ZIP):
    torch.save(content, path, _use_new_zipfile_serialization=form == ZIP)
    return path


def refusal(path, **options):
    """The one line with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, **options)
    line = str(caught.value)
    assert line.isprintable(), line
    assert line.startswith(str(path)) or not str(path).isprintable(), line
    return line.removeprefix(f"{path} ")


def zip_around(program, path, storages=(), others=(), compression=zipfile.ZIP_STORED):
    """Write a zip as torch.save does, around any pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        for number, data in enumerate(storages):
            archive.writestr(f"archive/data/{number}", data)
        for name, data in (("version", b"3\n"), ("byteorder", b"little"), *others):
            archive.writestr(f"archive/{name}", data)
    return path


def old_around(program, path, storages=(), keys=None, width=4):
    """Write torch's older format around any pickle, whose storages are named 0, 1, ..."""
    keys = [str(number) for number in range(len(storages))] if keys is None else keys
    with path.open("wb") as file:
        file.write(OLD_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2))
        file.write(program + pickle.dumps(keys, 2))
        for data in storages:
            file.write(struct.pack("<q", len(data) // width) + data)
    return path


def around(program, path, form, storages=()):
    return (zip_around if form == ZIP else old_around)(program, path, storages)


class Call:
    """Pickles as a call of a function with arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Memory:
    """Pickles as a reference to a storage, with whatever size it claims."""

    def __init__(self, form, key="0", count=2, kind="FloatStorage", view=None, what="storage"):
        self.claim = (what, getattr(torch, kind), key, "cpu", count)
        self.claim += () if form == ZIP else (view,)


class _Pickler(pickle._Pickler):  # the one in Python: it asks about every object
    def persistent_id(self, value):
        return value.claim if isinstance(value, Memory) else None


def program_of(content):
    """The pickle of some content with `Memory` in it, as torch.save writes it."""
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(content)
    return buffer.getvalue()


def tensor(memory, offset=0, shape=(2,), stride=(1,)):
    """Pickles as a tensor, with whatever shape it claims."""
    rebuild = torch._utils._rebuild_tensor_v2
    return Call(rebuild, memory, offset, shape, stride, False, OrderedDict())


@contextmanager
def importable(*names, base=object, **body):
    """Make classes importable under these full names, as on the machine that saved them."""
    before, made = {}, []
    for name in names:
        module, _, own = name.rpartition(".")
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            inner = ".".join(parts[:end])
            if inner not in before:
                before[inner] = sys.modules.get(inner)
                sys.modules[inner] = types.ModuleType(inner)
        made.append(type(own, (base,), {"__module__": module, **body}))
        setattr(sys.modules[module], own, made[-1])
    try:
        yield made
    finally:
        for inner, module in before.items():
            if module is None:
                del sys.modules[inner]
            else:
                sys.modules[inner] = module
