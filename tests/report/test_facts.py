"""Models and circumstances as text, whatever the manifest lacks."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import MIXED, THREE, Spec, make_result

from mimprobe.figures import Style
from mimprobe.report.facts import (
    MODEL_COLUMNS,
    entries,
    images_seen,
    model_facts,
    run_facts,
    skipped_images,
    subtitle,
)
from mimprobe.tables import PerImageValues

LOOK = Style("#123456", "s", "-")
RESULT = make_result(THREE)
CROSS = "\N{MULTIPLICATION SIGN}"


def facts_of(spec, **changed):
    (model,) = make_result([spec], images=1).manifest["models"]
    return model_facts(model | changed, LOOK)


def test_a_models_row():
    found = facts_of(Spec("m", "contrastive", prefix=5, heads=6))
    row = dict(zip(MODEL_COLUMNS, found.cells, strict=True))
    assert row == {
        "Architecture": "vit_small_patch16_224", "Parameters": "28.8 M", "Layers": "12",
        "Heads": "6", "Prefix tokens": "5", "Input": f"224 {CROSS} 224",
    }  # fmt: skip
    assert (found.name, found.color, found.kind) == ("m", "#123456", "contrastive")
    assert found.title == "A small network"


def test_rows_of_other_networks():
    heads = MODEL_COLUMNS.index("Heads")
    assert facts_of(Spec("r", family="resnet")).cells[heads] == "no attention"
    assert facts_of(MIXED[5], heads=[3, 3, 6, 6, 12]).cells[heads] == "3, 6, 12"
    assert facts_of(Spec("m"), parameters=12_345).cells[1] == "12,345"
    assert facts_of(Spec("m"), kind="dreaming").kind == "other"


def test_of_an_unknown_model_only_the_name_is_said():
    found = model_facts({"name": "mine"}, LOOK)
    assert found.name == "mine"
    assert set(found.cells) == {"\N{EN DASH}"}
    assert found.details == []


def test_details_hold_weights_loading_and_card():
    details = {title: dict(lines) for title, lines in facts_of(Spec("m")).details}
    assert list(details) == ["Weights", "Loading", "Preprocessing", "Card", "Training", "Results"]
    assert details["Weights"]["sha256"] == "0123456789abcdef" * 4
    assert details["Loading"]["dropped on purpose, classifier"] == "head.weight"
    assert not any(key.startswith("missing") for key in details["Loading"])
    assert details["Preprocessing"]["mean"] == "0.485, 0.456, 0.406"
    assert details["Card"] == {"source": "trained here", "licence": "MIT"}
    assert details["Results"] == {"": "what k-nearest-neighbour accuracy, value 31.2, unit %"}
    untrained = [title for title, _ in facts_of(Spec("m", "untrained")).details]
    assert untrained == ["Weights", "Preprocessing"]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, []), ("", []), ([], []), ({}, []), (0, [("n", "0")]), (False, [("n", "no")]),
        (True, [("n", "yes")]), (0.1, [("n", "0.1")]), ([224, 224], [("n", "224, 224")]),
        ({"a": {"b": 1, "c": None}, "d": []}, [("n, a, b", "1")]),
        ([{"value": 0.0, "unit": "%", "note": ""}], [("n", "value 0, unit %")]),
        ([{"value": 0}, "text"], [("n", "value 0"), ("n", "text")]),
    ],
)  # fmt: skip
def test_nested_entries_become_lines_and_only_empty_ones_are_left_out(value, lines):
    assert entries(value, "n") == lines


def test_how_the_numbers_were_made():
    found = {title: dict(lines) for title, lines in run_facts(RESULT.manifest)}
    assert list(found) == ["Run", "Images", "Versions", "Machine"]
    assert found["Run"]["seconds"] == "48.2"
    assert found["Run"]["batch size"] == "32"
    assert found["Run"]["seed"] == "0"
    assert found["Run"]["seconds of these waiting for data"] == "3.1"
    assert found["Run"]["processes"] == "2"
    assert found["Run"]["decoding workers"] == "0"
    assert found["Images"] == {
        "source": "photos", "images": "50", "sha256 of the list": "ab" * 32, "skipped": "0",
    }  # fmt: skip
    assert found["Versions"]["mimprobe"] == "0.1.0"
    assert run_facts({}) == [("Images", [("skipped", "0")])]


def test_skipped_images_are_listed():
    manifest = {"images": {"skipped": [{"image": "a.png", "reason": "cut"}, {"image": "b.png"}]}}
    assert skipped_images(manifest) == [("a.png", "cut"), ("b.png", "")]
    assert skipped_images({}) == []


def test_the_subtitle_counts_models_and_images_and_dates_them():
    dot = "\N{MIDDLE DOT}"
    assert subtitle(RESULT) == f"3 models {dot} 50 images of photos {dot} 23 November 2025"
    bare = replace(make_result(THREE[:1], images=1), manifest={"models": [{}]})
    assert subtitle(bare) == f"1 model {dot} 1 image"


def test_images_are_counted_without_the_skipped_ones():
    assert images_seen(RESULT) == 50
    nothing = PerImageValues((), RESULT.per_image.columns.head(0), np.empty((0, 0), np.float32))
    only_cka = replace(RESULT, tables={"cka": RESULT["cka"]}, per_image=nothing)
    assert images_seen(only_cka) == 50
    assert images_seen(make_result([Spec("r", family="resnet")], images=7)) == 7
