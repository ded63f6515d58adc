"""What lies beside the tensors: known classes become nothing, by their full name, in one load."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
from zoo.weight_files import (
    FORMS,
    OLD,
    ZIP,
    Call,
    around,
    importable,
    program_of,
    refusal,
    same,
    save,
    state_dict,
    zip_around,
)

from mimprobe.zoo.pickle_plan import Plan
from mimprobe.zoo.unpickle import LISTS, MAPPINGS, OBJECTS, kind_of, only_known, stands_in_for
from mimprobe.zoo.weights import read_weights

OTHERS = {"builtins", "typing", "numpy", "torch", "pathlib", "argparse", "collections", "datetime",
          "decimal", "uuid"}  # fmt: skip


def foreign(table):
    """The known names of libraries that need not be installed here."""
    return [
        f"{module}.{own}"
        for module, names in table.items()
        if module.split(".")[0] not in OTHERS
        for own in names.split()
    ]


@FORMS
@pytest.mark.parametrize("name", foreign(MAPPINGS))
def test_a_configuration_that_is_a_dict(tmp_path, form, name):
    """As yacs, mmcv and the others write theirs: items, a state, one inside another, shared."""
    with importable(name, base=dict) as (Config,):
        config = Config(A=1, B=Config(x=[1, 2]))
        config.__dict__["__immutable__"] = False
        config["again"] = config["B"]
        content = {"model": state_dict(), "config": config, "epoch": 799}
        path = save(content, tmp_path / "w.pth", form)
    file = read_weights(path)
    assert same(file.tensors, state_dict())
    assert file.beside == {"config": name, "epoch": "int 799"}


@FORMS
@pytest.mark.parametrize("name", foreign(OBJECTS))
def test_an_object_with_a_state(tmp_path, form, name):
    with importable(name) as (Known,):
        known = Known()
        known.__dict__.update(inner=Known(), path=pathlib.PurePosixPath("/x"))
        path = save({"model": state_dict(), "args": known}, tmp_path / "w.pth", form)
    file = read_weights(path)
    assert same(file.tensors, state_dict())
    assert file.beside == {"args": name}


@FORMS
def test_what_python_and_numpy_leave_beside_the_tensors(tmp_path, form):
    beside = {
        "args": argparse.Namespace(lr=0.1, output=pathlib.Path("/x"), inner=argparse.Namespace()),
        "accuracy": numpy.float64(83.8),
        "count": numpy.int32(3),
        "history": numpy.arange(3.0),
        "names": numpy.array(["a", None], dtype=object),
        "dtype": numpy.dtype("f4"),
        "of_float": type(numpy.dtype("f8")),
        "when": datetime.datetime(2021, 11, 18, tzinfo=datetime.UTC),
        "took": datetime.timedelta(1),
        "state": collections.defaultdict(dict, {"a": {"b": 1}}),
        "queue": collections.deque([1, 2], maxlen=3),
        "counts": collections.Counter("ab"),
        "ordered": collections.OrderedDict(a=1),
        "frozen": frozenset([1]),
        "bytes": b"\x00\xff",
        "array": bytearray(b"abc"),
        "set": {1, "a", (2, 3)},
        "huge": 2**80,
        "complex": 1 + 2j,
        "version": torch.__version__,
        "dtypes": [torch.float32, torch.Size([1, 2]), torch.device("cuda", 0), int, range(3)],
        "rng": torch.get_rng_state(),
        "numpy_rng": numpy.random.RandomState(0).get_state(),
        "optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict(),
        "loss": 0.5, "done": False, "none": None, "arch": "vit_small",
    }  # fmt: skip
    file = read_weights(save({"state_dict": state_dict(), **beside}, tmp_path / "w.pth", form))
    assert same(file.tensors, state_dict())
    assert file.top_key == "state_dict"
    told = dict(file.beside)
    scalar, rebuilt = told["count"], told["history"]
    assert scalar.endswith(".multiarray.scalar")
    assert rebuilt.endswith(".multiarray._reconstruct")
    assert told == {
        "args": "argparse.Namespace", "accuracy": scalar, "count": scalar, "history": rebuilt,
        "names": rebuilt, "dtype": "numpy.dtype", "of_float": "class numpy.dtypes.Float64DType",
        "when": "datetime.datetime", "took": "datetime.timedelta",
        "state": "collections.defaultdict", "queue": "list of 2", "counts": "Counter of 2",
        "ordered": "OrderedDict of 1", "frozen": "builtins.frozenset", "bytes": "bytes",
        "array": "bytearray", "set": "set of 3", "huge": f"int {2**80}", "complex": "complex",
        "version": "torch.torch_version.TorchVersion", "dtypes": "list of 5",
        "rng": "tensor of (5056,)", "numpy_rng": "tuple of 5", "optimizer": "dict of 2",
        "loss": "float 0.5", "done": "bool False", "none": "None", "arch": "str 'vit_small'",
    }  # fmt: skip


@FORMS
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_scalars_of_both_generations(tmp_path, form, module):
    program = pickle.dumps({"model": {}, "best": numpy.float64(1)}, 2)
    own = numpy.float64(1).__reduce__()[0].__module__.encode()
    assert own in program
    scalar = program.replace(own, module.encode())
    line = refusal(around(scalar, tmp_path / "w.pth", form))
    assert line == (
        f"holds no tensors by name: it has model (dict of 0), best ({module}.scalar); save a state "
        "dict"
    )


@FORMS
@pytest.mark.parametrize("installed", [True, False, None], ids=["yes", "no", "broken"])
def test_it_is_the_same_whether_the_library_is_installed_or_not(
    tmp_path, form, installed, monkeypatch
):
    """A module that tells when it is touched, one that cannot be imported, and none at all."""
    with importable("yacs.config.CfgNode", base=dict) as (Node,):
        content = {"model": state_dict(), "config": Node(A=Node(B=1))}
        path = save(content, tmp_path / "w.pth", form)
    for name in ("yacs", "yacs.config"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        if installed:
            monkeypatch.setitem(sys.modules, name, Touchy(name))
        elif installed is None:
            monkeypatch.setitem(sys.modules, name, None)
    file = read_weights(path)
    assert file.beside == {"config": "yacs.config.CfgNode"}
    assert same(file.tensors, state_dict())
    if installed is False:
        assert "yacs" not in sys.modules


class Touchy(types.ModuleType):
    def __getattribute__(self, name):
        raise AssertionError(f"{name} was touched")


@FORMS
def test_the_real_yacs(tmp_path, form):
    config = pytest.importorskip("yacs.config").CfgNode()
    config.MODEL = type(config)({"TYPE": "vit", "DEPTHS": [2, 2], "RATE": 0.1})
    config.freeze()
    path = save({"model": state_dict(), "config": config}, tmp_path / "w.pth", form)
    assert read_weights(path).beside == {"config": "yacs.config.CfgNode"}


@FORMS
def test_the_real_omegaconf(tmp_path, form):
    made = pytest.importorskip("omegaconf").OmegaConf.create(
        {"a": 1, "b": [1, "x", {"c": None, "d": True}], "e": "${a}", "f": 2.5, "g": b"x"}
    )
    path = save({"model": state_dict(), "cfg": made}, tmp_path / "w.pth", form)
    assert read_weights(path).beside == {"cfg": "omegaconf.dictconfig.DictConfig"}


@FORMS
def test_mmengine_lists_the_methods_of_its_buffer(tmp_path, form):
    """The one `getattr` that checkpoints have; on anything else it is refused (below)."""
    name = "mmengine.logging.history_buffer.HistoryBuffer"
    with importable(name) as (Buffer,):
        buffer = Buffer()
        buffer.methods = {"mean": Call(getattr, Buffer, "mean")}
        buffer.values = numpy.ones(3)
        path = save({"model": state_dict(), "hub": {"loss": buffer}}, tmp_path / "w.pth", form)
    assert read_weights(path).beside == {"hub": "dict of 1"}


def test_stand_ins_hold_nothing_and_come_from_the_full_name_only():
    for name in (*foreign(OBJECTS), *foreign(MAPPINGS), "collections.deque", "numpy.dtype"):
        assert kind_of(name)
    for name in ("CfgNode", "config.CfgNode", "yacs.config", "yacs.config.CfgNode.__init__",
                 "evil.yacs.config.CfgNode", "yacs.config.cfgnode", "", ".", "numpy.dtypes.",
                 "numpy.dtypes.x.DType", "builtins.eval", "typing.Any.x"):  # fmt: skip
        assert kind_of(name) is None, name
    assert LISTS
    assert stands_in_for({"a": 1}) is None
    assert stands_in_for(collections.OrderedDict(a=1)) is None


# --- torch's own list of safe names


class Mine:
    """A class that the user declared safe."""


class MineToo(dict):
    """One under a name that mimprobe knows, too."""


def listed():
    return set(torch.serialization.get_safe_globals())


@pytest.fixture(params=[(), (Mine, (MineToo, "yacs.config.CfgNode"))], ids=["empty", "own"])
def declared(request):
    """Torch fills the list itself with some dozen names, so "empty" is not how it starts."""
    found = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(request.param))
    yield set(request.param)
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(found)


@FORMS
def test_the_list_is_as_it_was(tmp_path, form, declared):
    with importable("yacs.config.CfgNode", base=dict) as (Node,):
        good = save({"model": state_dict(), "config": Node(a=1)}, tmp_path / "good.pth", form)
    assert read_weights(good).beside == {"config": "yacs.config.CfgNode"}
    assert listed() == declared
    mine = save({"model": state_dict(), "mine": Mine()}, tmp_path / "mine.pth", form)
    assert "Mine" in refusal(mine)  # the same for everybody, whatever one declared elsewhere
    assert listed() == declared
    evil = save({"model": Call(os.system, "true")}, tmp_path / "evil.pth", form)
    refusal(evil)
    assert listed() == declared


def test_the_list_is_as_it_was_after_any_error(declared):
    def interrupted():
        with only_known(["yacs.config.CfgNode"]):
            assert {name for _, name in listed()} == {"yacs.config.CfgNode"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert listed() == declared


def test_the_list_is_as_it_was_when_torch_fails(tmp_path, declared, monkeypatch):
    path = save({"model": state_dict(), "args": argparse.Namespace(a=1)}, tmp_path / "w.pth")

    def fails(*_, **__):
        assert {name for _, name in listed()} == {"argparse.Namespace"}
        raise RuntimeError("no memory\nand more")

    monkeypatch.setattr(torch, "load", fails)
    assert "(no memory)" in refusal(path)
    assert listed() == declared


def test_several_threads_at_once(tmp_path, declared):
    paths = []
    for number in range(6):
        beside = argparse.Namespace(a=1) if number % 2 else numpy.float64(1)
        content = {"model": state_dict(), "beside": beside}
        paths.append(save(content, tmp_path / f"{number}.pth", (ZIP, OLD)[number % 2]))
    with ThreadPoolExecutor(6) as pool:
        files = list(pool.map(read_weights, paths * 5))
    assert all(same(file.tensors, state_dict()) for file in files)
    assert listed() == declared


def test_torch_alone_refuses_what_the_plan_let_through(tmp_path, monkeypatch):
    """The second lock: were the plan wrong, torch's safe loading would still not run anything."""
    canary = tmp_path / "was-here"
    program = program_of({"model": Call(os.system, f"touch {canary}")})
    harmless = Plan(names=(), storages={}, result=None, end=0)
    monkeypatch.setattr("mimprobe.zoo.zipped.read_plan", lambda *_: harmless)
    line = refusal(zip_around(program, tmp_path / "w.pth"))
    assert line == "was refused by torch's safe loading; download it again"
    assert not canary.exists()


def test_only_known_names_get_a_stand_in():
    with pytest.raises(ValueError, match="os.system"), only_known(["os.system"]):
        pass
