"""Class numbers of two sets, and what can be wrong with them."""

import pytest
import torch
from pictures import fill

from mimprobe.data.images import open_images
from mimprobe.errors import ImageError
from mimprobe.readout.labels import guessed_correct, labels_of


def sets(tmp_path, train, val):
    return [
        open_images(fill(tmp_path / part, *names)) for part, names in (("t", train), ("v", val))
    ]


def test_numbers_follow_the_sorted_names(tmp_path):
    labels, truth, classes = labels_of(
        *sets(tmp_path, ["cat/1.png", "ant/1.png", "ant/2.png"], ["cat/9.png", "ant/9.png"])
    )
    assert classes == ("ant", "cat")
    assert labels.tolist() == [0, 0, 1]
    assert truth.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("train", "val", "told"),
    [
        (["1.png", "2.png"], ["a/1.png", "b/1.png"], "t has no class folders"),
        (["a/1.png", "b/1.png"], ["1.png", "2.png"], "v has no class folders"),
        (["a/1.png", "a/2.png"], ["a/1.png", "a/2.png"], r"one class only \(a\)"),
        (["a/1.png", "b/1.png"], ["a/1.png", "c/1.png", "b/1.png"],
         r"v has classes that \S+t lacks: c; that one has a, b;"),
        (["a/1.png", "b/1.png", "c/1.png"], ["a/1.png", "b/1.png"],
         r"t has classes that \S+v lacks: c; that one has a, b;"),
        ([f"{n}/1.png" for n in "abcdefg"], ["a/1.png", "b/1.png"], "lacks: c, d, e, f and 1 more"),
    ],
)  # fmt: skip
def test_bad_labels_are_told_in_one_line(tmp_path, train, val, told):
    with pytest.raises(ImageError, match=told) as caught:
        labels_of(*sets(tmp_path, train, val))
    assert "\n" not in str(caught.value)


def test_chance_is_the_class_that_is_commonest_in_training():
    labels, truth = torch.tensor([2, 0, 2, 1]), torch.tensor([0, 2, 2, 1, 2])
    assert guessed_correct(labels, truth).tolist() == [False, True, True, False, True]
