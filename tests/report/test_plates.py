"""Which figures a table gives, and the same bytes for the same table."""

import matplotlib as mpl
import numpy as np
import pytest
from synthetic import MIXED, THREE, Spec, make_result

from mimprobe.figures import model_styles
from mimprobe.report.plates import plates_of
from mimprobe.report.rendering import render

SMALL = {"depth": 2, "heads": 2}
RESULT = make_result(THREE, images=20)


def names_of(result, name):
    looks = model_styles({str(one["name"]): one["kind"] for one in result.manifest["models"]})
    return [plate.name for plate in plates_of(name, result[name], looks)]


def plate_of(result, name="head_kl"):
    return plates_of(name, result[name], model_styles(result[name]))[0]


def test_several_models_have_panels_and_one_overview():
    assert names_of(RESULT, "head_kl") == ["head_kl", "head_kl_means"]
    assert names_of(RESULT, "cka") == ["cka", "cka_between"]


def test_one_model_has_no_overview():
    one = make_result(THREE[:1], images=20)
    assert [plate for name in one for plate in names_of(one, name)] == [
        "attention_distance", "attention_entropy", "attention_nmi", "head_kl", "prefix_mass",
        "head_pairs", "head_distance", "head_distance_means", "attention_profile",
        "attention_offset", "cka",
    ]  # fmt: skip
    assert plate_of(one).caption == "Dots are heads, the line is their mean."
    assert "each of the 3 models" in plate_of(RESULT).caption


def test_normalised_entropies_are_drawn_only_where_numbers_of_keys_differ():
    plain = ["attention_entropy", "attention_entropy_means"]
    assert names_of(RESULT, "attention_entropy") == plain
    other = make_result([Spec("a", **SMALL), Spec("b", side=7, **SMALL)])
    assert names_of(other, "attention_entropy") == [*plain, "attention_entropy_normalised_means"]
    empty = make_result(THREE[:2], images=4)
    empty["attention_entropy"]["value"] = np.nan
    assert names_of(empty, "attention_entropy")[:2] == plain


def test_masses_that_windows_add_are_drawn_only_if_they_are_something():
    result = make_result([Spec("vit", **SMALL), MIXED[5]], images=4)
    assert names_of(result, "prefix_mass") == ["prefix_mass"]
    table = result["prefix_mass"]
    table.loc[table["metric"] == "padding_mass", "value"] = 0.01
    assert names_of(result, "prefix_mass") == ["prefix_mass", "padding_mass"]


def test_tables_without_figures_give_none():
    table = RESULT["head_kl"]
    assert plates_of("token_norms", table, model_styles(table)) == []
    assert plates_of("head_kl", table.head(0), {}) == []


@pytest.fixture(scope="module")
def picture():
    return render(plate_of(RESULT))


def test_a_picture_is_whole_in_three_formats(picture):
    assert picture.png.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.png.endswith(b"IEND\xaeB`\x82")
    assert picture.pdf.startswith(b"%PDF-")
    assert picture.pdf.rstrip().endswith(b"%%EOF")
    assert picture.svg.rstrip().endswith(b"</svg>")


def test_a_picture_holds_no_date_and_needs_no_font(picture):
    assert b"CreationDate" not in picture.pdf
    assert b"dc:date" not in picture.svg
    assert b"<text" not in picture.svg
    assert b"/FontFile2" in picture.pdf


def test_a_picture_is_the_same_whatever_the_users_settings_and_the_day(picture, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "x", "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        again = render(plate_of(make_result(THREE, images=20)))
        assert dict(mpl.rcParams) == before
    assert again == picture
