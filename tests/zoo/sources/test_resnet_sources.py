"""ResNets of MoCo v1, v2 and v3 and of SimCLR, under each source's prefixes."""

import pytest
import torch
from zoo.sources import plain_resnet
from zoo.sources.made_files import (
    UNIT,
    adam,
    assert_same_output,
    assert_same_tokens,
    images,
    inside,
    load,
    numbers,
    write,
    write_card,
)
from zoo.sources.resnet_formats import moco, moco_head, resnet, simclr
from zoo.sources.vit_formats import linear, moco_v3, under

from mimprobe.models.sites import layout
from mimprobe.zoo.build import create

LAYERS, PLANES, SIDE = (2, 1, 1, 1), (8, 12, 16, 24), 64
SMALL = {"layers": LAYERS, "planes": PLANES}
FEATURES = 4 * PLANES[-1]


def card(folder, *, converter, classes=0, **changes):
    write_card(
        folder, "small", file="small.pth.tar", architecture="resnet50", heads=0, prefix=0,
        converter=converter, side=SIDE, top_key="state_dict", kind="contrastive",
        arguments={"layers": LAYERS, "channels": PLANES, "num_classes": classes}, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("by_name", [True, False])
def test_moco_v1_and_v2(cards, version, by_name):
    head = moco_head(version, FEATURES)
    state = numbers(moco(resnet(**SMALL), head, queue=16))
    content = {"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": adam(state)}
    path = write(cards / "small.pth.tar", content, old_format=version == 1)
    card(cards, converter="moco")
    loaded = load("small") if by_name else load(path, card="small")
    plain = inside(state, "module.encoder_q.")
    assert_same_tokens(loaded, images(SIDE), plain_resnet.resnet(plain, images(SIDE)))
    kept = {f"module.encoder_q.{name}" for name in resnet(**SMALL)}
    assert set(loaded.load_report.dropped) == state.keys() - kept
    assert not loaded.load_report.missing
    assert layout(loaded.module).attention_sites == ()


def test_moco_v3(cards):
    shapes = moco_v3(resnet(**SMALL), head="fc", layers=2, features=FEATURES, mlp=16)
    state = numbers(shapes)
    content = {"epoch": 300, "arch": "resnet50", "state_dict": state, "optimizer": adam(state)}
    path = write(cards / "small.pth.tar", content)
    card(cards, converter="moco_v3")
    loaded = load(path, card="small")
    plain = inside(state, "module.base_encoder.")
    assert_same_tokens(loaded, images(SIDE), plain_resnet.resnet(plain, images(SIDE)))


def test_moco_v3_linear_probe(cards):
    state = numbers(under("module.", resnet(**SMALL, top=linear("fc", FEATURES, 10))))
    content = {"epoch": 90, "arch": "resnet50", "best_acc1": torch.tensor(68.9),
               "state_dict": state, "optimizer": adam(state)}  # fmt: skip
    path = write(cards / "small.pth.tar", content)
    card(cards, converter="data_parallel", classes=10)
    loaded = load(path, card="small")
    plain = inside(state, "module.")
    features = plain_resnet.resnet(plain, images(SIDE))
    assert_same_tokens(loaded, images(SIDE), features)
    assert_same_output(loaded, images(SIDE), plain_resnet.classified(features, plain))


def test_simclr(cards):
    state = as_simclr_converts(numbers(resnet(**SMALL, top=linear("fc", FEATURES, 10))))
    path = write(cards / "small.pth.tar", {"state_dict": state})
    card(cards, converter="simclr", scale=UNIT)
    loaded = load(path, card="small")
    expected = plain_resnet.resnet(inside(state, ""), images(SIDE))
    assert_same_tokens(loaded, images(SIDE), expected)
    assert set(loaded.load_report.dropped) == {"fc.weight", "fc.bias"}
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == UNIT


def as_simclr_converts(state):
    """TensorFlow's memory order, seen through permuted axes, as the converter leaves it."""

    def laid_out(name, tensor):
        if tensor.ndim == 4:
            return tensor.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
        return tensor.T.contiguous().T if name == "fc.weight" else tensor

    return {name: laid_out(name, tensor) for name, tensor in state.items()}


def big(shapes, repeated):
    """Numbers for many millions of weights, quickly: one random run of them, again and again."""
    run = numbers({"run.weight": (1 << 20, 1)})["run.weight"].flatten()
    small = {name: shape for name, shape in shapes.items() if len(shape) < 4}
    made = numbers({name: shape for name, shape in small.items() if not name.startswith(repeated)})
    for name, shape in shapes.items():
        if name.startswith(repeated):  # not looked at: no memory, one number for all
            made[name] = torch.zeros(()).expand(shape)
        elif len(shape) == 4:
            count = torch.Size(shape).numel()
            scale = (2 / (count / shape[0])) ** 0.5 / 1.5**0.5
            made[name] = run.repeat(-(-count // len(run)))[:count].reshape(shape) * scale
    return {name: made[name] for name in shapes}


def test_moco_v3_resnet50_by_path_at_full_size(tmp_path):
    shapes = moco_v3(resnet(), head="fc", layers=2, features=2048)
    state = big(shapes, ("module.momentum_encoder.", "module.predictor.", "module.base_encoder.fc"))
    content = {"epoch": 300, "arch": "resnet50", "state_dict": state}
    loaded = load(write(tmp_path / "r-50.pth.tar", content))
    plain = inside(state, "module.base_encoder.")
    assert_same_tokens(loaded, images(SIDE), plain_resnet.resnet(plain, images(SIDE)))
    assert (loaded.architecture, loaded.kind) == ("resnet50", "contrastive")
    assert layout(loaded.module).attention_sites == ()


def test_the_wide_resnet_of_simclr_2x():
    """It has one size, 376 MB: the numbers of a fresh one are compared, and not a file's."""
    torch.manual_seed(0)
    module = create("wide_resnet50", {"width": 2, "num_classes": 0}).eval()
    state = module.state_dict()
    for name, shape in simclr(2).items():
        if name.endswith(("bn3.weight", "bn3.bias", "bn1.running_mean")):
            state[name].copy_(0.5 + 0.1 * torch.randn(shape))
    x = images(SIDE, count=1).float()
    with torch.no_grad():
        expected, found = plain_resnet.resnet(state, x), module.forward_features(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_wide_resnet_of_simclr_4x_differs_in_width_only():
    with torch.device("meta"):
        narrow, wide = (create("wide_resnet50", {"width": w, "num_classes": 0}) for w in (2, 4))
    pairs = list(zip(narrow.modules(), wide.modules(), strict=True))
    for one, other in pairs:
        assert type(one) is type(other)
        if isinstance(one, torch.nn.Conv2d):
            assert (one.kernel_size, one.stride, one.padding, one.bias, one.groups) == (
                other.kernel_size, other.stride, other.padding, other.bias, other.groups
            )  # fmt: skip
            assert other.out_channels == 2 * one.out_channels
    assert len(pairs) > 100
