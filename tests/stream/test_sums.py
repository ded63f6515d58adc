"""CKA from sums: equal to CKA from kept features, whatever was merged with what."""

import pytest
import torch

from mimprobe.errors import OptionError
from mimprobe.stream import (
    CkaFeatures,
    CkaSums,
    choose_cka_stream,
    cka_sums_bytes,
    sums,
)

WIDTHS = {"stem": 5, "blocks.0": 8, "blocks.1": 3}


def random_features(images, seed=0, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(images, 4, generator=generator)
    return {
        site: common @ torch.randn(4, width, generator=generator)
        + torch.randn(images, width, generator=generator)
        + offset * (1 + place)
        for place, (site, width) in enumerate(WIDTHS.items())
    }


def fill(stream, features, images, size):
    images = list(images)
    for start in range(0, len(images), size):
        part = images[start : start + size]
        stream.add(part, {site: rows[part] for site, rows in features.items()})
    return stream


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(sums, "LEAST_BLOCK", 10)


@pytest.mark.parametrize("images", [4, 9, 10, 137])
@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.usefixtures("small_blocks")
def test_sums_equal_kept_features(images, size, offset):
    features = random_features(images, offset=offset)
    found = fill(CkaSums(tuple(WIDTHS)), features, range(images), size).cka()
    wanted = fill(CkaFeatures(tuple(WIDTHS)), features, range(images), size).cka()
    assert found.sites == wanted.sites
    assert found.images == images
    torch.testing.assert_close(found.value, wanted.value, rtol=0, atol=1e-9)
    assert found.se.isnan().all()
    assert found.note == "streaming sums keep no groups"


def test_sums_equal_kept_features_in_blocks_of_the_usual_size():
    features = random_features(1300, offset=50.0)
    found = fill(CkaSums(tuple(WIDTHS)), features, range(1300), 100)
    assert sum(len(rows) for rows in found._waiting) < 512
    wanted = fill(CkaFeatures(tuple(WIDTHS)), features, range(1300), 100).cka()
    torch.testing.assert_close(found.cka().value, wanted.value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bounds", [(0, 50, 120), (0, 5, 120), (0, 115, 120), (0, 0, 120)])
@pytest.mark.usefixtures("small_blocks")
def test_merging_re_centres_to_the_receivers_constant(bounds):
    features = random_features(120)
    for rows in features.values():
        rows[bounds[1] :] += 30.0  # so that the two constants are far apart
    wanted = fill(CkaFeatures(tuple(WIDTHS)), features, range(120), 16).cka().value
    first, second = (
        fill(CkaSums(tuple(WIDTHS)), features, range(*pair), 16)
        for pair in (bounds[:2], bounds[1:])
    )
    before = second.cka().value
    first.merge(second)
    torch.testing.assert_close(first.cka().value, wanted, rtol=0, atol=1e-9)
    assert torch.equal(second.cka().value, before)
    third = fill(CkaSums(tuple(WIDTHS)), features, range(bounds[1]), 16)
    second.merge(third)
    torch.testing.assert_close(second.cka().value, wanted, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("small_blocks")
def test_each_sum_survives_another_constant():
    """Every sum, not only CKA, equals the one taken with the receiver's constant at once."""
    rows = torch.cat(list(random_features(40).values()), dim=1)
    widths = tuple(WIDTHS.values())
    constants = torch.linspace(-1, 2, 16).double(), torch.linspace(3, -4, 16).double()
    one, other, wanted = (sums.FeatureSums(widths, constants[place]) for place in (0, 1, 0))
    one.add(rows[:15])
    other.add(rows[15:])
    wanted.add(rows)
    one.merge(other)
    assert one.images == 40
    for name in ("total", "squares", "square_pairs", "weighted"):
        torch.testing.assert_close(getattr(one, name), getattr(wanted, name), rtol=1e-11, atol=1e-9)
    for found, product in zip(one.products, wanted.products, strict=True):
        torch.testing.assert_close(found, product, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("cut", [0, 3, 15, 40])
@pytest.mark.parametrize("kind", [CkaSums, CkaFeatures])
@pytest.mark.usefixtures("small_blocks")
def test_a_restored_state_goes_on_bit_for_bit(kind, cut, tmp_path):
    features = random_features(60, offset=20.0)
    wanted = fill(fill(kind(tuple(WIDTHS)), features, range(cut), 7), features, range(cut, 60), 7)
    first = fill(kind(tuple(WIDTHS)), features, range(cut), 7)
    torch.save(first.state(), tmp_path / "state")
    second = fill(kind(tuple(WIDTHS)), features, range(5), 5)
    second.restore(torch.load(tmp_path / "state", weights_only=True))
    fill(second, features, range(cut, 60), 7)
    assert torch.equal(second.cka().value, wanted.cka().value)
    assert second.cka().images == 60
    if cut:
        with pytest.raises(OptionError, match="image 0 was added twice"):
            fill(second, features, [0], 1)


@pytest.mark.parametrize("kind", [CkaSums, CkaFeatures])
def test_a_state_of_other_sites_is_refused(kind):
    state = fill(kind(tuple(WIDTHS)), random_features(9), range(9), 3).state()
    with pytest.raises(OptionError, match="cannot restore sites"):
        kind(("a", "b")).restore(state)


@pytest.mark.usefixtures("small_blocks")
def test_a_site_that_never_changes_is_nan():
    features = random_features(30)
    features["stem"] = torch.full((30, 5), 0.1)
    found = fill(CkaSums(tuple(WIDTHS)), features, range(30), 30).cka().value
    assert found[0].isnan().all()
    assert found[1:, 1:].isfinite().all()


def test_memory_of_the_sums_is_known_beforehand():
    stream = fill(CkaSums(tuple(WIDTHS)), random_features(20), range(20), 20)
    stream.cka()
    held = stream._sums
    tensors = [held.constant, held.total, held.squares, held.square_pairs, held.weighted]
    numbers = sum(tensor.numel() for tensor in tensors + held.products)
    assert cka_sums_bytes(list(WIDTHS.values())) == 8 * numbers
    assert cka_sums_bytes([768] * 12) == pytest.approx(78 * 768**2 * 8, rel=0.01)


def test_images_and_sites_that_do_not_fit_are_refused():
    features = random_features(6)
    stream = fill(CkaSums(tuple(WIDTHS)), features, range(3), 3)
    with pytest.raises(OptionError, match="CKA needs at least 4 images, got 3"):
        stream.cka()
    with pytest.raises(OptionError, match="CKA needs at least 4 images, got 0"):
        CkaSums(("a",)).cka()
    with pytest.raises(OptionError, match="image 1 was added twice"):
        fill(stream, features, [5, 1], 2)
    with pytest.raises(OptionError, match="image 0 was added twice"):
        stream.merge(stream)
    with pytest.raises(OptionError, match="cannot merge sites"):
        stream.merge(CkaSums(("a",)))


def test_a_standard_error_is_worth_cheap_gram_matrices():
    widths = {f"blocks.{layer}": 768 for layer in range(12)}
    assert isinstance(choose_cka_stream(widths, 10_000), CkaFeatures)
    assert isinstance(choose_cka_stream(widths, 50_000), CkaSums)


def test_the_cheaper_stream_is_chosen(monkeypatch):
    monkeypatch.setattr("mimprobe.stream.choice.CHEAP_PRODUCTS", 0)
    limit = (len(WIDTHS) + 1) * 8
    needed = cka_sums_bytes(list(WIDTHS.values()))
    assert isinstance(choose_cka_stream(WIDTHS, limit), CkaFeatures)
    many = choose_cka_stream(WIDTHS, limit + 1)
    assert isinstance(many, CkaSums)
    assert many.sites == tuple(WIDTHS)
    assert isinstance(choose_cka_stream(WIDTHS, limit + 1, budget_bytes=needed), CkaSums)
    tight = choose_cka_stream(WIDTHS, limit + 1, budget_bytes=needed - 1)
    assert isinstance(tight, CkaFeatures)
    assert tight.budget_bytes == needed - 1
    with pytest.raises(OptionError, match="at least one site"):
        choose_cka_stream({}, 10)
