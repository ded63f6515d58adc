"""Tokens of a function of the user's: what it is given, and what is wrong with it."""

import sys
from types import ModuleType

import pytest
import torch

from mimprobe.errors import OptionError
from mimprobe.train.objectives.targets.colours import normalised
from mimprobe.train.objectives.targets.tokens import Tokens


def brightness(images):
    """Tell squares of 8 px by their brightness, in ten steps."""
    assert images.min() >= 0
    assert images.max() <= 1
    return (torch.nn.functional.avg_pool2d(images.mean(1), 8) * 9.99).long()


@pytest.fixture
def tokens_of(make_config, monkeypatch):
    """Build the target for a function, which stands in a module of its own."""

    def build(function, **changes):
        module = ModuleType("my_tokens")
        module.mine = function
        monkeypatch.setitem(sys.modules, "my_tokens", module)
        settings = {"tokenizer": "my_tokens:mine", "vocabulary": 10, **changes}
        return Tokens(make_config(target="tokens", **settings))

    return build


def test_tokens_are_those_of_the_function_and_set_the_resolution(tokens_of):
    target = tokens_of(brightness, input_width=64)
    assert (target.scale, target.outputs) == (8, 10)
    colours = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    classes = target.classes(normalised(colours))
    assert torch.equal(classes, brightness(colours))
    logits = torch.randn(2, 10, 4, 8)
    errors = target.errors(logits, normalised(colours))
    expected = -logits.log_softmax(1).gather(1, classes.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(errors, expected)
    with pytest.raises(OptionError, match="tokens of my_tokens:mine have no colours"):
        target.picture(logits, normalised(colours))


def test_a_network_as_tokenizer_is_neither_trained_nor_stored(tokens_of):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, images):
            return brightness(images * self.weight)

    target = tokens_of(Network())
    assert not list(target.parameters())
    assert not target.state_dict()


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda images: images.mean(1), r"gives torch\.float32, not whole numbers"),
        (lambda images: [1], "gives a list, not a tensor of tokens"),
        (lambda images: images[:, 0, 0].long(), r"gives shape \(2, 32\) for 2 images, not"),
        (lambda images: brightness(images)[:1], r"gives shape \(1, 4, 4\) for 2 images"),
        (lambda images: brightness(images) + 10, "gives tokens from 14 to 14, outside a voc.* of"),
        (lambda images: brightness(images) - 5, "gives tokens from -1 to -1, outside a voc.* of"),
        (lambda images: brightness(images)[:, :3], "makes 3 x 4 tokens of an input of 32 x 32 px"),
        (lambda images: brightness(images)[:, :2], "they must be squares of whole pixels"),
        (lambda images: images.nonsense, "failed on images of shape .*no attribute 'nonsense'"),
        (7, "tokenizer my_tokens:mine: my_tokens has no function mine"),
    ],
)
def test_functions_that_give_no_tokens_are_one_line(tokens_of, function, told):
    with pytest.raises(OptionError, match=told) as caught:
        tokens_of(function)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my_tokens", "tokenizer 'my_tokens' is not of the form module:function"),
        ("no_such_module:mine", r"cannot be imported \(No module named 'no_such_module'\); put"),
        ("json:mine", "tokenizer json:mine: json has no function mine"),
    ],
)
def test_names_that_lead_nowhere_are_one_line(make_config, name, told):
    with pytest.raises(OptionError, match=told):
        Tokens(make_config(target="tokens", tokenizer=name))
