"""CKA from kept features: equal to the definition, its error to leaving images out for real."""

import gc
import itertools
import math

import numpy as np
import pytest
import torch

from mimprobe.errors import OptionError
from mimprobe.measures import linear_cka
from mimprobe.stream import CkaFeatures, grams
from mimprobe.stream import features as features_module

SITES = ("stem", "blocks.0", "blocks.1")
WIDTHS = (5, 8, 8)


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices are so small here that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_features(images, seed=0, offset=0.0):
    """Sites that share something, each with noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(images, 4, generator=generator)
    return {
        site: common @ torch.randn(4, width, generator=generator)
        + torch.randn(images, width, generator=generator) * (1 + place)
        + offset
        for place, (site, width) in enumerate(zip(SITES, WIDTHS, strict=True))
    }


def filled(features, *, order=None, size=7, **options):
    images = len(next(iter(features.values())))
    order = list(range(images)) if order is None else order
    stream = CkaFeatures(tuple(features), **options)
    for start in range(0, images, size):
        part = order[start : start + size]
        stream.add(part, {site: rows[part] for site, rows in features.items()})
    return stream


def slow_matrix(features, keep=None):
    rows = [values if keep is None else values[keep] for values in features.values()]
    return torch.tensor([[linear_cka(x, y).item() for y in rows] for x in rows]).double()


@pytest.mark.parametrize("images", [4, 5, 23, 100])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_values_equal_the_pairwise_measure(images, offset):
    features = random_features(images, offset=offset)
    found = filled(features).cka()
    assert found.sites == SITES
    assert found.images == images
    rows = list(features.values())
    for (s, x), (t, y) in itertools.product(enumerate(rows), repeat=2):
        assert found.value[s, t].item() == pytest.approx(linear_cka(x, y).item(), abs=1e-11)
    assert found.value.diagonal().tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(("images", "groups"), [(5, 5), (13, 13), (47, 20)])
def test_standard_error_equals_leaving_groups_out_for_real(images, groups):
    features = random_features(images)
    found = filled(features).cka(seed=3)
    order = np.random.default_rng(3).permutation(images)
    left = []
    for group in range(groups):
        gone = order[images * group // groups : images * (group + 1) // groups]
        left.append(slow_matrix(features, np.setdiff1d(np.arange(images), gone)).numpy())
    spread = ((np.array(left) - np.mean(left, axis=0)) ** 2).sum(0)
    wanted = np.sqrt(spread * (groups - 1) / groups)
    np.testing.assert_allclose(found.se.numpy(), wanted, rtol=1e-5, atol=1e-7)
    assert found.note == ""


def test_standard_error_is_about_the_spread_over_samples_of_images():
    tables = [filled(random_features(120, seed=1) | sample(seed)).cka() for seed in range(40)]
    spread = torch.stack([table.value for table in tables]).std(0)[1, 2]
    error = torch.stack([table.se for table in tables]).mean(0)[1, 2]
    assert 0.7 < error / spread < 1.5


def sample(seed):
    """New images of two sites whose relation stays the same."""
    generator = torch.Generator().manual_seed(100 + seed)
    x = torch.randn(120, 8, generator=generator)
    y = x * torch.linspace(0.1, 2, 8) + torch.randn(120, 8, generator=generator)
    return {"blocks.0": x, "blocks.1": y}


def test_blocks_of_any_size_give_the_same_sums(monkeypatch):
    features = random_features(61)
    wanted = filled(features).cka()
    monkeypatch.setattr(grams, "BLOCK_BYTES", 4000)  # parts of 5 images and less
    found = filled(features).cka()
    torch.testing.assert_close(found.value, wanted.value, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found.se, wanted.se, rtol=1e-9, atol=1e-12)
    tiles = grams._tiles(slice(3, 64), WIDTHS)
    assert [tile.start for tile in tiles] == [3, *(tile.stop for tile in tiles[:-1])]
    assert tiles[-1].stop == 64
    step = tiles[0].stop - 3
    assert step > 1
    assert 8 * 3 * step**2 + 24 * step * sum(WIDTHS) <= 4000


@pytest.mark.parametrize("budget", [1 << 20, 24 * 84, 0])
def test_any_split_order_merging_and_storage_gives_the_same_bits(budget, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(features_module, "_COPIED_AT_ONCE", 3)
    features = random_features(40)
    wanted = filled(features).cka()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    whole = filled(features, order=order, size=3, budget_bytes=budget)
    assert whole.on_disk == (budget < 40 * 84)
    parts = [CkaFeatures(SITES, budget_bytes=budget) for _ in range(4)]
    for place, image in enumerate(order):
        rows = {site: values[[image]] for site, values in features.items()}
        parts[place % 3].add([image], rows)
    parts[3].merge(parts[1])
    parts[3].merge(parts[0])
    parts[3].merge(parts[2])
    for stream in (whole, parts[3]):
        stream.budget_bytes = 1 << 20  # enough for the groups of the jackknife
        found = stream.cka()
        assert torch.equal(found.value, wanted.value)
        assert torch.equal(found.se, wanted.se)
    assert parts[0].cka().images == 14  # what was merged from stays as it was
    assert list(tmp_path.iterdir()) == []  # files have no name


def test_a_state_of_features_on_disk_is_mapped_and_restores_to_disk(tmp_path):
    features = random_features(40)
    stream = filled(features, budget_bytes=0)
    torch.save(stream.state(), tmp_path / "state")
    assert stream.on_disk
    other = CkaFeatures(SITES, budget_bytes=0)
    other.restore(torch.load(tmp_path / "state", weights_only=True, mmap=True))
    assert other.on_disk
    for one in (stream, other):
        one.budget_bytes = 1 << 20  # enough for the groups of the jackknife
    found, wanted = other.cka(), stream.cka()
    assert torch.equal(found.value, wanted.value)
    assert torch.equal(found.se, wanted.se)


def test_images_can_be_added_after_a_result_was_read():
    features = random_features(30)
    for budget in (0, 1 << 20):
        stream = filled({site: rows[:10] for site, rows in features.items()}, budget_bytes=budget)
        stream.cka()
        rest = list(range(10, 30))
        stream.add(rest, {site: rows[rest] for site, rows in features.items()})
        stream.budget_bytes = 1 << 20
        assert torch.equal(stream.cka().value, filled(features).cka().value)


def test_files_are_closed_with_the_stream(recwarn):
    stream = filled(random_features(10), budget_bytes=0)
    file = stream._rows._file
    assert not file.closed
    del stream
    gc.collect()
    assert file.closed
    other = filled(random_features(10), budget_bytes=0)
    other.close()
    assert other._rows._file.closed
    assert not recwarn.list


def test_a_site_that_never_changes_is_nan_and_leaves_the_others_alone():
    features = random_features(30)
    features["blocks.0"] = torch.full((30, 8), 0.1)
    found = filled(features).cka()
    assert found.value[1].isnan().all()
    assert found.value[:, 1].isnan().all()
    wanted = linear_cka(features["stem"], features["blocks.1"]).item()
    assert found.value[0, 2].item() == pytest.approx(wanted, abs=1e-11)
    assert math.isfinite(found.se[0, 2])


def test_where_there_is_no_standard_error_the_note_says_why():
    found = filled(random_features(4)).cka()
    assert found.note == "4 images are too few for a jackknife"
    assert found.se.isnan().all()
    assert found.value.isfinite().all()
    features = random_features(50)
    found = filled(features, budget_bytes=20000).cka()
    assert found.note == "group sums of 24,000 bytes exceed the budget of 20,000 bytes"
    assert found.se.isnan().all()
    torch.testing.assert_close(found.value, filled(features).cka().value, rtol=0, atol=1e-12)


def test_features_that_do_not_fit_are_refused():
    features = random_features(6)
    for count in (0, 3):
        stream = CkaFeatures(SITES)
        if count:
            stream.add(range(count), {site: rows[:count] for site, rows in features.items()})
        with pytest.raises(OptionError, match=f"CKA needs at least 4 images, got {count}"):
            stream.cka()
    stream = filled(features)
    with pytest.raises(OptionError, match="image 3 was added twice"):
        stream.add([3], {site: rows[:1] for site, rows in features.items()})
    with pytest.raises(OptionError, match="image 0 was added twice"):
        stream.merge(filled(features))
    with pytest.raises(OptionError, match=r"features of \['stem'\]; expected"):
        stream.add([9], {"stem": features["stem"][:1]})
    with pytest.raises(OptionError, match=r"features of widths \(4, 8, 8\) after"):
        stream.add(
            [9], {site: rows[:1, -8 if i else -4 :] for i, (site, rows) in numbered(features)}
        )
    with pytest.raises(OptionError, match=r"features of \[1, 2, 2\] images, by site"):
        stream.add([9], {site: rows[: 2 if i else 1] for i, (site, rows) in numbered(features)})
    with pytest.raises(OptionError, match="2 image indices for 1 rows"):
        stream.add([9, 10], {site: rows[:1] for site, rows in features.items()})
    with pytest.raises(OptionError, match=r"cannot merge sites \['a'\]"):
        stream.merge(CkaFeatures(("a",)))
    with pytest.raises(OptionError, match="at least one and distinct"):
        CkaFeatures(("a", "a"))
    assert stream.cka().images == 6


def numbered(features):
    return enumerate(features.items())
