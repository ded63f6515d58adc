"""Plates, numbers and words of diagnostics without heads."""

from dataclasses import replace

import pytest
from synthetic import THREE, layer_tables, make_result

from mimprobe.figures import model_styles
from mimprobe.report.numbers import numbers_of
from mimprobe.report.plates import plates_of
from mimprobe.report.remarks import remarks_of
from mimprobe.report.rendering import render
from mimprobe.report.sections import facts_of, interval_of
from mimprobe.tables import read_result

TABLES = layer_tables(THREE)
RESULT = replace(make_result(THREE), tables=TABLES)
LOOKS = model_styles({spec.name: spec.kind for spec in THREE})


@pytest.mark.parametrize(
    ("name", "plates"),
    [
        ("mutual_neighbours", ["mutual_neighbours", "mutual_neighbours_between"]),
        ("effective_rank", ["effective_rank", "singular_value"]),
        ("token_similarity", ["token_similarity"]),
        ("high_frequency", ["high_frequency", "log_amplitude"]),
        ("feature_norm", ["feature_norm", "activation_ratio"]),
    ],
)
def test_tables_of_layers_have_a_figure_for_each_metric(name, plates):
    found = plates_of(name, TABLES[name], LOOKS)
    assert [plate.name for plate in found] == plates
    assert render(found[-1]).png.startswith(b"\x89PNG")


def test_curves_are_drawn_and_not_listed():
    ((title, numbers),) = numbers_of("effective_rank", TABLES["effective_rank"])
    assert title == "Layer means: effective rank"
    assert numbers.header == ["layer", *(spec.name for spec in THREE)]
    assert len(numbers.rows) == 12
    titles = [title for title, _ in numbers_of("feature_norm", TABLES["feature_norm"])]
    assert titles[1] == "Layer means: largest over median activation"
    ((title, _),) = numbers_of("mutual_neighbours", TABLES["mutual_neighbours"])
    assert title.startswith("Mean shared nearest neighbours over pairs of layers")


def test_intervals_say_where_they_come_from():
    assert "by jackknife over groups of images" in interval_of(TABLES["effective_rank"])
    assert interval_of(TABLES["mutual_neighbours"]).startswith(
        "standard errors over images, in the CSV file; the widest 95 % interval: shared nearest"
    )
    assert "bands are the mean over images" in interval_of(TABLES["token_similarity"])
    assert remarks_of("token_similarity", RESULT) == []


def test_choices_of_cka_and_neighbours_are_told():
    described = {
        "cka": {
            "tokens": "flattened", "batch": 64, "stage": 1, "images_left_out": 2,
            "memory": "features of 64 images at a time: 50.3 MB",
        },
        "mutual_neighbours": {"tokens": "mean", "k": 10, "chance": 10 / 63},
    }  # fmt: skip
    tables = {"cka": make_result(THREE)["cka"], **TABLES}
    result = replace(RESULT, tables=tables, manifest={"analyzers": described})
    facts = dict(facts_of("cka", result))
    assert facts["Pooling"] == "none: all patch tokens, in batches of 64 images"
    assert facts["Layers"] == "of networks with stages, those of stage 2"
    assert facts["Left out"] == "2 images, in a batch of fewer than 4"
    assert facts["Memory"].endswith("50.3 MB")
    assert dict(facts_of("mutual_neighbours", result))["By chance"] == "0.16 for k = 10"


def test_curves_are_written_and_read_back(tmp_path):
    again = read_result(RESULT.write(tmp_path / "out"))
    for name, table in TABLES.items():
        assert list(again[name].columns) == list(table.columns)
        assert again[name]["value"].tolist() == table["value"].astype(float).tolist()
        if "at" in table:
            assert again[name]["at"].isna().tolist() == table["at"].isna().tolist()
