"""What a pickle may do: other classes are refused by name, and nothing ever runs."""

import argparse
import collections
import functools
import operator
import os
import pathlib
import pickle
import sys

import numpy
import pytest
import torch
from zoo.weight_files import (
    FORMS,
    Call,
    Memory,
    around,
    importable,
    program_of,
    refusal,
    save,
    state_dict,
)

from mimprobe.zoo.weights import read_weights


@FORMS
def test_a_class_that_nobody_knows_is_named_and_not_imported(tmp_path, form):
    with importable("strange.place.Config", "strange.place.Other") as (Config, Other):
        content = {"model": state_dict(), "a": Config(), "b": [Other(), Config()]}
        path = save(content, tmp_path / "w.pth", form)
    line = refusal(path)
    assert line == (
        "asks for strange.place.Config and 1 more, and was not loaded, because a pickle can run "
        "code; on a machine where you trust it, save its state_dict() alone"
    )
    assert "strange" not in sys.modules


@FORMS
def test_a_name_of_any_length_fits_the_line(tmp_path, form):
    program = b"c" + b"a" * 500 + b"\n" + b"b" * 500 + b"\n"
    line = refusal(around(emptied(program), tmp_path / "w.pth", form))
    assert line.startswith("asks for aaa")
    assert len(line) < 1100
    longer = b"c" + b"a" * 600 + b"\nb\n"
    line = refusal(around(emptied(longer), tmp_path / "w.pth", form))
    assert line == "is damaged: its pickle cannot be followed; download it again"


@FORMS
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_network(tmp_path, form):
    line = refusal(save(torch.nn.Linear(2, 2), tmp_path / "w.pth", form))
    assert line == (
        "is a whole pickled network (torch.nn.modules.linear.Linear), not its tensors, and was not "
        "loaded, because a pickle can run code; on a machine where you trust it, save its "
        "state_dict()"
    )
    line = refusal(save({"model": torch.nn.Sequential(torch.nn.ReLU())}, tmp_path / "w.pth", form))
    assert line.startswith("is a whole pickled network (torch.nn.modules.container.Sequential")


def hostile(canary):
    """Ways to make the one who unpickles run something, each with what the refusal names."""
    shell, python = f"touch {canary}", f"open({str(canary)!r}, 'w').close()"
    nested = pickle.dumps(Call(os.system, shell), 2)
    return {
        "os.system": (Call(os.system, shell), "posix.system"),
        "eval": (Call(eval, python), "builtins.eval"),
        "exec": (Call(exec, python), "builtins.exec"),
        "import": (Call(__import__, "os"), "builtins.__import__"),
        "open": (Call(open, str(canary), "w"), "io.open"),
        "map": (Call(map, eval, [python]), "builtins.map"),
        "attrgetter": (Call(operator.attrgetter("system"), "os"), "operator.attrgetter"),
        "methodcaller": (
            Call(operator.methodcaller("write_text", "x"), canary),
            "operator.methodcaller",
        ),
        "torch.load": (Call(torch.load, str(canary)), "torch.serialization.load"),
        "loads": (Call(pickle.loads, nested), "pickle.loads"),
        "load_from_bytes": (
            Call(torch.storage._load_from_bytes, nested),
            "torch.storage._load_from_bytes",
        ),
        "partial": (functools.partial(os.system, shell), "functools.partial"),
        "numpy.load": (Call(numpy.load, str(canary)), "numpy.load"),
        "type": (Call(type, "X", (), {}), "builtins.type"),
        "path.touch": (Call(getattr, canary, "touch"), "builtins.getattr"),
    }


@FORMS
@pytest.mark.parametrize("way", hostile(pathlib.Path("x")))
@pytest.mark.parametrize("where", ["model", "beside", "optimizer", "key", "attribute", "whole"])
def test_nothing_runs(tmp_path, form, way, where):
    canary = tmp_path / "was-here"
    attack, named = hostile(canary)[way]
    if where == "attribute" or where == "key":
        program = program_of(_placed(attack, where, form))
        path = around(program, tmp_path / "w.pth", form, [b"\0" * 8])
    else:
        path = save(_placed(attack, where, form), tmp_path / "w.pth", form)
    line = refusal(path)
    assert named in line, line
    assert "was not loaded" in line
    assert not canary.exists()


def _placed(attack, where, form):
    if where == "whole":
        return attack
    if where == "key":
        return {"model": {}, "x": {Hashed(attack): 1}}
    if where == "attribute":  # a tensor with attributes names the function that rebuilds it
        rebuild = torch._tensor._rebuild_from_type_v2
        inner = (Memory(form), 0, (2,), (1,), False, collections.OrderedDict())
        made = torch._utils._rebuild_tensor_v2
        return {"w": Call(rebuild, made, torch.Tensor, inner, {"x": attack})}
    if where == "optimizer":
        return {"model": state_dict(), "optimizer": {"state": {0: {"step": [attack]}}}}
    return {"model": {**state_dict(), **({"x": attack} if where == "model" else {})}, "y": attack}


class Hashed:
    """Pickles as what it holds, and can be a key."""

    def __init__(self, attack):
        self.attack = attack

    def __reduce__(self):
        return self.attack.__reduce__()[:2]


def emptied(text):
    return pickle.PROTO + b"\x02" + text + pickle.STOP


@FORMS
@pytest.mark.parametrize(
    ("program", "told"),
    [
        (b"cposix\nsystem\nX\x02\0\0\0id\x85R", "posix.system"),
        (b"c__builtin__\neval\nX\x01\0\0\x001\x85R", "builtins.eval"),
        (b"c__builtin__\ngetattr\ncposix\nsystem\nX\x01\0\0\0x\x86R", "posix.system"),
        # the result of an allowed `getattr` is called
        (
            b"c__builtin__\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n"
            b"X\x04\0\0\0mean\x86R)R",
            "calls what is no class",
        ),
        (b"c__builtin__\ngetattr\ncyacs.config\nCfgNode\nX\x01\0\0\0x\x86R", "builtins.getattr"),
        # a known class is made, and the object called, filled or given a state
        (b"cargparse\nNamespace\n)\x81)R", "calls what is no class"),
        (b"cargparse\nNamespace\n)\x81K\x01K\x02s", "fills something that is no mapping"),
        (b"cargparse\nNamespace\n)\x81K\x01a", "fills something that is no list"),
        (b"cyacs.config\nCfgNode\nK\x01K\x02s", "fills something that is no mapping"),
        (b"cyacs.config\nCfgNode\n}b", "gives a state to a name"),
        (b"]}b", "gives a state to a list"),
        (b"}(K\x01u", "is damaged: its pickle cannot be followed"),
        (b"(K\x01", "holds int 1, not tensors by name"),
        (b"cyacs.config\nCfgNode\n)\x81K\x01b", "is damaged"),
        (b"cyacs.config\nCfgNode\n)\x81N}\x86b", "gives a state to a mapping"),
        (b"K\x01)R", "calls what is no class"),
        (b"X\x01\0\0\0a)\x81", "calls what is no class"),
        # names that only look like known ones
        (b"cevil.yacs.config\nCfgNode\n)\x81", "evil.yacs.config.CfgNode"),
        (b"cconfig\nCfgNode\n)\x81", "asks for config.CfgNode"),
        (b"cyacs.config\nCfgNode.__init__.__globals__\n)\x81", "yacs.config.CfgNode.__init__"),
        (b"ctorch.load\n__globals__\n", "torch.load.__globals__"),
        (b"ctorch\nos\n", "torch.os"),
        (b"ctorch.hub\nload\n", "torch.hub.load"),
        (b"ccollections\nOrderedDict.fromkeys\n)R", "collections.OrderedDict.fromkeys"),
        # instructions that safe loading does not have
        (b"(iposix\nsystem\n", "instruction b'i'"),
        (b"(cposix\nsystem\no", "posix.system"),
        (b"\x8c\x05posix\x8c\x06system\x93", "instruction b'\\x8c'"),
        (b"\x82\x01", "instruction b'\\x82'"),
        (b"Pmodule\n", "instruction b'P'"),
        # references to anything but a tensor's memory
        (b"X\x01\0\0\0xQ", "asks for a tuple"),
        (b"X\x06\0\0\0module\x85Q", "is damaged"),
        (b"ctorch\nFloatStorage\nX\x06\0\0\0module\x86Q", "is damaged"),
    ],
)  # fmt: skip
def test_programs_written_by_hand(tmp_path, form, program, told):
    path = around(emptied(program), tmp_path / "w.pth", form)
    assert told in refusal(path)


@FORMS
@pytest.mark.parametrize(
    "call",
    [
        Call(bytearray, 10**13),
        Call(torch.UntypedStorage, 10**13),
        Call(torch.FloatStorage, 10**12),
        Call(torch.Tensor, 10**12),
        Call(torch.empty, 10**12),
        Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (10**6,), (1,), False),
        Call(complex, [1]),
        Call(set, {1: 2}),
    ],
    ids=lambda call: call.function.__name__,
)
def test_calls_that_torch_allows_and_no_checkpoint_makes(tmp_path, form, call):
    path = around(program_of({"model": {"w": call}}), tmp_path / "w.pth", form)
    line = refusal(path)
    assert "with arguments that do not fit" in line or "was not loaded" in line, line


@FORMS
def test_a_tensor_with_attributes_is_rebuilt_by_nothing_else(tmp_path, form):
    """Torch calls what the arguments name, without looking whether it may be called."""
    rebuild, path = torch._tensor._rebuild_from_type_v2, tmp_path / "w.pth"
    inner = (Memory(form), 0, (2,), (1,), False, collections.OrderedDict())
    plain = torch._utils._rebuild_tensor_v2
    good = Call(rebuild, plain, torch.Tensor, inner, {"x": 1})
    around(program_of({"w": good}), path, form, [b"\0" * 8])
    assert torch.equal(read_weights(path).tensors["w"], torch.zeros(2))
    deep = inner
    for _ in range(100):
        deep = (rebuild, torch.Tensor, deep, {})
    for wrong in (
        Call(rebuild, bytearray, torch.Tensor, (10**13,), {}),
        Call(rebuild, rebuild, torch.Tensor, deep, {}),
        Call(rebuild, plain, argparse.Namespace, inner, {}),
        Call(rebuild, plain, "torch.Tensor", inner, {}),
    ):
        around(program_of({"w": wrong}), path, form, [b"\0" * 8])
        assert refusal(path) == (
            "asks for a tensor with arguments that do not fit; download it again"
        )


def twice(start, instruction, times):
    """A value, and then times over what is made of two of the last."""
    return start + b"q\0" + instruction * times


@FORMS
@pytest.mark.parametrize(
    ("program", "told"),
    [
        # a key of 2 ** 60 equal parts, which takes for ever to hash, and one 10 ** 5 deep
        (b"}" + twice(b")", b"h\0\x86q\0", 60) + b"K\x01s", "keys are no plain values"),
        (b"}" + twice(b")", b"\x85", 2000) + b"K\x01s", "keys are no plain values"),
        (
            b"c__builtin__\nset\n](" + twice(b")", b"h\0\x86q\0", 60) + b"e\x85R",
            "keys are no plain values",
        ),
        (b"}]K\x01s", "keys are no plain values"),
        # ten million copies of one string
        (
            b"c_codecs\nencode\nq\1X\0\0\1\0" + b"a" * 65536 + b"q\0X\x06\0\0\0latin1q\2000"
            + b"h\1h\0h\2\x86R" * 2000,
            "instruction",
        ),
        (
            b"(c_codecs\nencode\nq\1X\0\0\1\0" + b"a" * 65536 + b"q\0X\x06\0\0\0latin1q\2"
            + b"h\1h\0h\2\x86R" * 2000 + b"l",
            "would fill the memory with copies",
        ),
        # a codec that makes more of it each time
        (b"c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0utf-32\x86R", "asks for _codecs.encode"),
        (b"N" * 9000, "more than 9000 pickle instructions"),
        (b"]" * 300 + b"a" * 299, "holds no tensors|holds list|not tensors by name"),
    ],
    ids=["wide", "deep", "set", "list-key", "pop", "copies", "codec", "long", "nested"],
)  # fmt: skip
def test_programs_that_would_take_all_memory_or_time(tmp_path, form, program, told, monkeypatch):
    monkeypatch.setattr("mimprobe.zoo.pickle_machine.STEPS", 9000)
    line = refusal(around(emptied(program), tmp_path / "w.pth", form))
    assert any(one in line for one in told.split("|")), line
