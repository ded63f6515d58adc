"""Class numbers of two sets, and what can be wrong with them."""

from collections import Counter

import pytest
import torch
from pictures import fill

from mimprobe.data.images import open_images
from mimprobe.errors import ImageError, OptionError
from mimprobe.readout.labels import drawn_by_class, guessed_correct, labels_of


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


def unequal(tmp_path):
    """Classes of 1, 4 and 15 images."""
    sizes = {"ant": 1, "bee": 4, "cat": 15}
    names = [f"{name}/{number}.png" for name, size in sizes.items() for number in range(size)]
    return open_images(fill(tmp_path / "images", *names))


@pytest.mark.parametrize(
    ("limit", "counts"),
    [(3, (1, 1, 1)), (5, (1, 1, 3)), (10, (1, 2, 7)), (19, (1, 4, 14)), (20, (1, 4, 15))],
)
def test_a_limit_takes_of_every_class_its_share(tmp_path, limit, counts):
    images = unequal(tmp_path)
    seen = set()
    for seed in range(8):
        drawn = drawn_by_class(images, limit, seed)
        assert tuple(Counter(drawn.labels)[name] for name in ("ant", "bee", "cat")) == counts
        assert len(set(drawn.ids)) == limit
        assert list(drawn.ids) == [name for name in images.ids if name in set(drawn.ids)]
        assert drawn_by_class(images, limit, seed).ids == drawn.ids
        seen.add(drawn.ids)
    assert (len(seen) == 1) == (limit == 20)  # another seed draws others where there is a choice


def test_a_limit_that_leaves_a_class_out_is_refused(tmp_path):
    with pytest.raises(OptionError, match="limit=2 is fewer images than the 3 classes of .*: 3 at"):
        drawn_by_class(unequal(tmp_path), 2, 0)
    assert len(drawn_by_class(unequal(tmp_path / "again"), None, 0)) == 20
