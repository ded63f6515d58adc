"""Colour clusters: fitted to images, stored with the run, nearest by distance."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mimprobe.data.images import open_images
from mimprobe.errors import OptionError, OutputError
from mimprobe.train.objectives.targets import clusters
from mimprobe.train.objectives.targets.clusters import FILE, Clusters
from mimprobe.train.objectives.targets.colours import colours_of, normalised
from mimprobe.train.objectives.targets.palette import colour_clusters

COLOURS = np.array([[0, 0, 0], [250, 10, 10], [20, 200, 30], [240, 240, 250]])


@pytest.fixture
def flags(tmp_path):
    """Four images, each of four noisy colours in stripes."""
    folder = tmp_path / "flags"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(4):
        pixels = np.repeat(COLOURS, 8, axis=0)[:, None] + draw.integers(-3, 4, (32, 16, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return open_images(folder)


def test_centres_are_the_colours_of_the_images(flags):
    centres = colour_clusters(flags, clusters=4, seed=0)
    expected = COLOURS[np.argsort(COLOURS.sum(1))] / 255
    assert np.abs(centres - expected).max() < 3 / 255
    assert np.array_equal(centres, colour_clusters(flags, clusters=4, seed=0))


def test_a_run_stores_its_centres_and_finds_them_again(flags, make_config, tmp_path, monkeypatch):
    config = make_config(target="clusters", clusters=4)
    first, second = Clusters(config), Clusters(config)
    first.learn(flags, tmp_path)
    stored = json.loads((tmp_path / FILE).read_text())["centres"]
    assert np.array_equal(np.float32(stored), first.centres.numpy())
    monkeypatch.setattr(clusters, "colour_clusters", None)  # nothing is fitted again
    second.learn(flags, tmp_path)
    assert torch.equal(first.centres, second.centres)
    for damaged in ("{", "[]", '{"centres": [[1, 2, 3]]}'):
        (tmp_path / FILE).write_text(damaged)
        with pytest.raises(OutputError, match=r"clusters\.json is damaged; delete it to fit"):
            second.learn(flags, tmp_path)


def test_classes_and_errors_are_the_definition(make_config):
    target = Clusters(make_config(target="clusters", clusters=5, target_scale=2))
    draw = np.random.default_rng(0)
    target.centres.copy_(torch.tensor(draw.random((5, 3))))
    images = normalised(torch.tensor(draw.random((2, 3, 4, 6))))
    logits = draw.normal(size=(2, 5, 2, 3))
    found = target.errors(torch.tensor(logits), images).numpy()
    colours = colours_of(images).numpy()
    centres = target.centres.double().numpy()
    for b, row, column in np.ndindex(2, 2, 3):
        mean = colours[b, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((1, 2))
        nearest = int(((centres - mean) ** 2).sum(1).argmin())
        scores = logits[b, :, row, column]
        expected = np.log(np.exp(scores).sum()) - scores[nearest]
        assert found[b, row, column] == pytest.approx(expected, abs=1e-9)


def test_the_picture_shows_the_likeliest_centres(make_config):
    target = Clusters(make_config(target="clusters", clusters=4, target_scale=2))
    target.centres.copy_(torch.tensor(COLOURS / 255))
    likeliest = torch.tensor([[[0, 1], [2, 3]]])
    logits = torch.nn.functional.one_hot(likeliest, 4).permute(0, 3, 1, 2).float()
    picture = colours_of(target.picture(logits, torch.zeros(1, 3, 4, 4)))
    shown = (picture[0, :, ::2, ::2].flatten(1).mT * 255).round().int().numpy()
    assert np.array_equal(shown, COLOURS)


def test_too_few_colours_and_no_fit_are_told(flags, make_config, tmp_path):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "plain.png")
    with pytest.raises(OptionError, match="shows 1 different colours, fewer than 512 clusters"):
        colour_clusters(open_images([tmp_path / "plain.png"]), clusters=512, seed=0)
    target = Clusters(make_config(target="clusters", clusters=4))
    with pytest.raises(OptionError, match="the colour clusters are not fitted"):
        target.errors(torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8))
    with pytest.raises(OptionError, match="the colour clusters are not fitted"):
        target.picture(torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8))
