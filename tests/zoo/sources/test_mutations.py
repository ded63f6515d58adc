"""Good files with one fault each: they load to the same numbers, or end in one line.

A swap of two tensors of one shape is not among the faults: only a checksum could tell.
"""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from zoo.sources.good_files import BASES, VIT, VIT_CARD, Good
from zoo.sources.made_files import load, numbers, write
from zoo.sources.vit_formats import linear, vit

from mimprobe.errors import CheckpointError, MimprobeError
from mimprobe.zoo.convert import CONVERTERS
from mimprobe.zoo.fill import fill
from mimprobe.zoo.weights import file_sha256


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    made: dict[str, Good] = {}
    folder = tmp_path_factory.mktemp("cards")
    with pytest.MonkeyPatch.context() as patch:

        def of(name):
            own = folder / name.replace(" ", "-")
            own.mkdir(exist_ok=True)
            patch.setenv("MIMPROBE_CARDS", str(own))
            patch.setenv("MIMPROBE_CACHE", str(own))
            if name not in made:
                made[name] = Good(BASES[name], own)
            return made[name]

        yield of


# Faults: each takes the state and a `draw`, and changes the state.


def remove(state, draw):
    del state[draw(st.sampled_from(sorted(state)))]


def rename(state, draw):
    name = draw(st.sampled_from(sorted(state)))
    changes = (
        lambda key: key + "_", lambda key: "module." + key, lambda key: key.upper(),
        lambda key: key.replace(".0.", ".1.", 1), lambda key: key.replace(".0.", ".7.", 1),
        lambda key: key.replace(".", "", 1), lambda key: "encoder." + key, lambda _: "",
        lambda key: key.partition(".")[2], lambda key: key.replace(".1.", ".01.", 1),
    )  # fmt: skip
    change = draw(st.sampled_from(changes))
    tensor = state.pop(name)
    state[change(name)] = tensor


def swap(state, draw):
    one = draw(st.sampled_from(sorted(state)))
    others = sorted(name for name in state if state[name].shape != state[one].shape)
    other = draw(st.sampled_from(others))
    state[one], state[other] = state[other], state[one]


def reshape(state, draw):
    name = draw(st.sampled_from(sorted(state)))
    tensor = state[name]
    ways = [
        tensor[None], tensor.flatten()[None, None], tensor.flatten()[:0], tensor.flatten()[0],
        torch.cat([tensor[None], tensor[None]]), tensor.expand(2, 3, *tensor.shape),
        torch.zeros(0, 0), torch.zeros(1, 0, 3, 3),
    ]  # fmt: skip
    for axis, size in enumerate(tensor.shape):
        ways += [tensor.narrow(axis, 0, length) for length in {0, 1, size - 1} - {size}]
        ways.append(torch.cat([tensor, tensor], axis))
    different = [way for way in ways if way.shape != tensor.shape]
    if name == "pos_embed":  # one position less is a format of its own: none for the class token
        different = [way for way in different if way.shape[1:2] != (tensor.shape[1] - 1,)]
    state[name] = draw(st.sampled_from(different)).clone()


def damage(state, draw):
    floats = sorted(name for name, tensor in state.items() if tensor.is_floating_point())
    name = draw(st.sampled_from(floats))
    value = draw(st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300]))
    large = value == 1e300  # finite, but not in the network's float32
    tensor = state[name] = state[name].to(torch.float64 if large else torch.float32, copy=True)
    tensor.view(-1)[draw(st.integers(0, tensor.numel() - 1))] = value


TYPES = (
    torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.int64, torch.int8, torch.uint8, torch.bool, torch.uint16,
)  # fmt: skip


def retype(state, draw):
    name = draw(st.sampled_from(sorted(state)))
    tensor = state[name]
    kind = draw(st.sampled_from([kind for kind in TYPES if kind != tensor.dtype]))
    if "float8" in str(kind):  # holds other numbers: so let the numbers be what it holds
        tensor = torch.ones_like(tensor)
    state[name] = tensor.to(kind)
    return name


def add(state, draw):
    names = ("extra", "blocks.0.extra", "layers.0.blocks.0.attn.extra", "blocks.9.norm1.weight",
             "encoder.encoder.norm.weight", "norm.weight.bias", "head.weight", "lm_head.weight",
             "decoder.9.weight", "fc.weight", "module.encoder_k.fc.weight", "pos_embed",
             "backbone.norm.weight", "rel_pos_bias.relative_position_index", "q_bias", " ",
             "layers.5.downsample.norm.bias", "new\nline", "encoder.rel_pos_bias.x")  # fmt: skip
    name = draw(st.sampled_from([name for name in names if name not in state]))
    shapes = [(), (1,), (12,), (5, 12), (1, 10, 12)]
    if name == "pos_embed":  # with its right shape this is no fault, but another network's file
        shapes.pop()
    shape = draw(st.sampled_from(shapes))
    state[name] = torch.ones(shape)


def add_another_thing(state, draw):
    things = (1, "text", None, [1.0], {"a": 1}, {"b": torch.ones(1)}, (), b"bytes", 1.5)
    key = draw(st.sampled_from(["_metadata", "extra", 7, "norm.weight", ("a", 1)]))
    state[key] = draw(st.sampled_from(things))


FAULTS = (remove, rename, swap, reshape, damage, retype, add, add_another_thing)


def one_line(error):
    assert isinstance(error, MimprobeError)
    assert "\n" not in str(error)
    assert str(error).strip()


ONE_FAULT = settings(  # there is nothing to shrink
    max_examples=8, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@ONE_FAULT
@pytest.mark.parametrize("name", BASES)
@given(data=st.data())
def test_one_fault_in_the_tensors(good, name, data):
    base = good(name)
    state = dict(base.state)
    fault = data.draw(st.sampled_from(FAULTS), label="fault")
    changed = fault(state, data.draw)
    try:
        loaded = base.load({base.base.top_key: state})
    except MimprobeError as error:
        one_line(error)
        assert_left_as_found(base, state)
        return
    if fault is retype and "float8" in str(state[changed].dtype) and changed not in base.dropped:
        return
    # Not bit for bit: products round by where a tensor happens to lie in memory.
    torch.testing.assert_close(base.run(loaded), base.output, rtol=0, atol=1e-6)


WEIGHT, TABLE = "encoder.blocks.0.mlp.fc1.weight", "attn.relative_position_bias_table"
NORM = "backbone.stages.0.downsample.norm.weight"
FOUND = {
    "beyond float32": ("SimMIM ViT", WEIGHT, lambda t: t.double() * 1e300),
    "no heads": ("Swin", f"layers.0.blocks.0.{TABLE}", lambda t: t[:, :0]),
    "merged without axes": ("mmpretrain", NORM, lambda t: t[0]),
    "merged with a channel less": ("mmpretrain", NORM, lambda t: t[:-1]),
    "resized from nothing": (
        "Swin by card, resized", f"encoder.layers.1.blocks.0.{TABLE}", lambda t: t[:0]
    ),
    "resized from no square": (
        "Swin by card, resized", f"encoder.layers.1.blocks.0.{TABLE}", lambda t: t[:-1]
    ),
    "resized without axes": ("MAE by card, resized", "pos_embed", lambda t: t[0, 0, 0]),
    "resized from no grid": ("MAE by card, resized", "pos_embed", lambda t: t[:, :-1]),
    "another window": (
        "SwinV2", "layers.0.blocks.0.attn.relative_coords_table", lambda t: t[None].clone()
    ),
}  # fmt: skip
"""Faults that hypothesis found to end in something else."""


@pytest.mark.parametrize("what", FOUND)
def test_a_fault_that_was_found(good, what):
    name, key, change = FOUND[what]
    base = good(name)
    state = base.state | {key: change(base.state[key])}
    with pytest.raises(CheckpointError) as caught:
        base.load({base.base.top_key: state})
    one_line(caught.value)
    assert_left_as_found(base, state)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_eight_bits(good, kind):
    """Taken as the numbers that they are, or refused."""
    base = good("SimMIM ViT")
    state = base.state | {WEIGHT: base.state[WEIGHT].to(kind)}
    try:
        loaded = base.load({base.base.top_key: state})
    except MimprobeError as error:
        one_line(error)
        return
    found = loaded.module.state_dict()[WEIGHT.removeprefix("encoder.")]
    assert torch.equal(found, state[WEIGHT].float())


@pytest.mark.parametrize("name", ["MoCo by card", "SimMIM ViT"])
def test_a_line_break_in_a_name_does_not_break_the_line(good, name):
    base = good(name)
    with pytest.raises(CheckpointError) as caught:
        base.load({base.base.top_key: base.state | {"new\nline": torch.ones(1)}})
    one_line(caught.value)


def assert_left_as_found(base, state):
    """A network is filled whole or not at all."""
    if not all(isinstance(one, torch.Tensor) for one in state.values()):
        return
    module = base.loaded.module
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    try:
        converted = CONVERTERS[base.base.converter](state)
        fill(module, converted, "made", resize=base.base.input_size is not None)
    except MimprobeError as error:
        one_line(error)
    after = module.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


@pytest.mark.parametrize("name", ["SimMIM ViT", "MoCo by card"])
@pytest.mark.parametrize("key", ["state_dict", "model", "teacher", "weights", "", "x.y"])
def test_another_top_key(good, name, key):
    base = good(name)
    try:
        loaded = base.load({key: base.state, "epoch": 3})
    except MimprobeError as error:
        one_line(error)
        assert base.base.card or key not in ("state_dict", "model", "teacher")
        return
    torch.testing.assert_close(base.run(loaded), base.output, rtol=0, atol=0)


CONTENTS = {
    "two top keys": lambda state: {"state_dict": state, "model": {"other": torch.ones(2)}},
    "empty": lambda state: {"model": {}},
    "nothing": lambda state: {},
    "nested once more": lambda state: {"model": {"model": state}},
    "a list": lambda state: [state],
    "a tensor": lambda state: torch.ones(3),
    "a number": lambda state: 3,
    "flat with more": lambda state: {**state, "epoch": 3},
    "pairs": lambda state: list(state.items()),
    "numbers for names": lambda state: dict(enumerate(state.values())),
    "arrays": lambda state: {"model": {key: tensor.tolist() for key, tensor in state.items()}},
    "meta": lambda state: {"model": {k: t.to("meta") for k, t in state.items()}},
    "sparse": lambda state: {"model": {k: t.to_sparse() for k, t in state.items()}},
    "parameters": lambda state: {
        "model": {k: torch.nn.Parameter(t, requires_grad=t.is_floating_point())
                  for k, t in state.items()}
    },
    "one storage": lambda state: {"model": views_of_one(state)},
}  # fmt: skip


def views_of_one(state):
    """All floating-point tensors as parts of one memory, the last ones first."""
    floats = [name for name, tensor in state.items() if tensor.is_floating_point()][::-1]
    memory = torch.cat([state[name].flatten() for name in floats])
    parts = dict(zip(floats, memory.split([state[name].numel() for name in floats]), strict=True))
    return {k: parts[k].view(t.shape) if k in parts else t for k, t in state.items()}


@pytest.mark.parametrize("what", CONTENTS)
def test_another_structure(good, what):
    base = good("SimMIM ViT")
    try:
        loaded = base.load(CONTENTS[what](base.state))
    except MimprobeError as error:
        one_line(error)
        assert what not in ("parameters", "one storage")
        return
    torch.testing.assert_close(base.run(loaded), base.output, rtol=0, atol=0)


@settings(ONE_FAULT, max_examples=4)
@given(data=st.data())
def test_with_a_checksum_on_the_card_every_change_is_found(good, data):
    """Also a swap of two tensors of one shape, which nothing else can tell."""
    base = good("MoCo by card")
    path = base.folder / "made.toml"
    whole = write(base.folder / "made.pth", {"state_dict": base.state})
    text = path.read_text()
    checked = text.replace('checksum = ""', f'checksum = "sha256:{file_sha256(whole)}"')
    state = dict(base.state)
    fault = data.draw(st.sampled_from([swap_alike, *FAULTS]), label="fault")
    fault(state, data.draw)
    try:
        path.write_text(checked)
        with pytest.raises(CheckpointError) as caught:
            base.load({"state_dict": state})
        one_line(caught.value)
        base.load({"state_dict": base.state})
    finally:
        path.write_text(text)


def swap_alike(state, draw):
    one, other = draw(st.sampled_from([
        ("module.encoder_q.bn1.weight", "module.encoder_q.bn1.bias"),
        ("module.encoder_q.layer1.0.bn1.running_mean", "module.encoder_q.layer2.0.bn1.bias"),
    ]))  # fmt: skip
    assert state[one].shape == state[other].shape
    state[one], state[other] = state[other], state[one]


@pytest.mark.parametrize("fault", ["scalar head", "no axes", "empty head"])
def test_a_fault_in_a_file_that_is_loaded_with_an_arch(tmp_path, fault):
    state = numbers(vit(**VIT, heads=linear("head", 192, 5)))
    if fault == "scalar head":
        state["head.weight"] = torch.tensor(1.0)
    elif fault == "no axes":
        state["pos_embed"] = torch.tensor(1.0)
    else:
        state["head.weight"] = torch.zeros(0, 192)
    path = write(tmp_path / "w.pth", {"model": state})
    arguments = {k: v for k, v in VIT_CARD["arguments"].items() if k != "num_classes"}
    for size in (None, 12):
        with pytest.raises(MimprobeError) as caught:
            load(path, arch="vit_tiny_patch16_224", arch_args=arguments, input_size=size)
        one_line(caught.value)
