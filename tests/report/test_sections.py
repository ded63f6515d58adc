"""Words and numbers around the figures of a table."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import MIXED, THREE, Spec, make_result

from mimprobe.figures import FIGURES
from mimprobe.report.numbers import numbers_of
from mimprobe.report.readings import READINGS, TITLES, title_of
from mimprobe.report.remarks import remarks_of
from mimprobe.report.sections import facts_of, images_of, interval_of, page_title

RESULT = make_result(THREE)
SMALL = {"depth": 2, "heads": 2}


def test_every_table_with_a_figure_has_a_title_and_a_reading():
    by_step = {"cka_to_final"}  # read in the section of training steps, see `report.steps`
    assert set(TITLES) == set(FIGURES) == set(READINGS) | by_step
    assert title_of("cka") == "Similarity of layers (CKA)"
    assert title_of("token_norms") == "Token norms"


def test_the_page_is_named_by_up_to_three_models():
    assert page_title(RESULT) == "simmim-tiny40, supervised-tiny40 and random:simmim-tiny40"
    assert page_title(make_result([Spec("<b> & c", **SMALL)])) == "<b> & c"
    assert page_title(make_result(MIXED, images=4)) == "8 models"


def test_facts_have_n_definition_choices_and_intervals():
    facts = dict(facts_of("head_kl", RESULT))
    assert facts["Images"] == "n = 50"
    assert facts["Definition"] == "the definition of head_kl"
    assert facts["Prefix tokens"].startswith("renormalise: prefix tokens are left out and each row")
    assert "1.96 standard errors" in facts["Intervals"]
    similarity = dict(facts_of("cka", RESULT))
    assert similarity["Pooling"] == "mean of the patch tokens"
    assert "jackknife" in similarity["Intervals"]
    bare = dict(facts_of("cka", replace(RESULT, manifest={})))
    assert list(bare) == ["Images", "Intervals"]
    odd = replace(RESULT, manifest={"analyzers": {"cka": {"prefix": "sum", "tokens": "max"}}})
    assert dict(facts_of("cka", odd))["Pooling"] == "max"
    assert dict(facts_of("cka", odd))["Prefix tokens"] == "sum: see the manifest"


def test_missing_intervals_have_a_reason():
    assert interval_of(make_result(THREE, images=1)["head_kl"]) == (
        "no standard errors: they need at least two images"
    )
    assert interval_of(make_result(THREE, images=10)["cka"]) == (
        "no standard errors: too few images"
    )
    blind = make_result([Spec("r", family="resnet")])
    assert "Intervals" not in dict(facts_of("head_kl", blind))
    assert dict(facts_of("head_kl", blind))["Images"] == "none"


def test_the_widest_interval_is_told_of_every_metric():
    told = interval_of(RESULT["attention_entropy"])
    (dots,) = [part for part in told.split("; ") if part.startswith("the widest")]
    table = RESULT["attention_entropy"]
    widest = 1.96 * table.groupby("metric")["se"].max()
    sign = "\N{PLUS-MINUS SIGN}"
    assert dots == (
        f"the widest 95 % interval of a dot: attention entropy {sign} "
        f"{widest['attention_entropy']:.2g} nats, normalised entropy {sign} "
        f"{widest['attention_entropy_normalised']:.2g}"
    )
    for name in ("cka", "head_pairs", "attention_profile"):
        assert "the widest 95 % interval: " in interval_of(RESULT[name])


def test_masses_that_windows_hardly_add_have_no_interval():
    table = make_result([Spec("vit", **SMALL), MIXED[5]], images=4)["prefix_mass"].copy()
    mass = table["metric"] == "padding_mass"
    table.loc[mass, "value"] = 1e-6
    assert "padding" not in interval_of(table)
    table.loc[mass, "value"] = 0.01
    assert "padding" in interval_of(table)


def test_prefix_policy_is_not_told_of_the_mass_on_prefix_tokens():
    described = {name: {"prefix": "renormalise"} for name in ("prefix_mass", "head_kl")}
    result = replace(RESULT, manifest={"analyzers": described})
    assert "Prefix tokens" not in dict(facts_of("prefix_mass", result))
    assert "Prefix tokens" in dict(facts_of("head_kl", result))


def test_images_that_a_value_rests_on():
    table = RESULT["head_kl"].copy()
    table.loc[0, "n"] = 1234
    assert images_of(table) == "n = 50 to 1,234"


def test_layer_means_stand_at_their_layer_and_model():
    specs = (Spec("a", depth=2, heads=2), Spec("b", "supervised", depth=3, heads=2))
    table = make_result(specs)["attention_entropy"].copy()
    means = table["head"].isna()
    table.loc[means, "value"] = table["layer"] + 10.0 * (table["model"] == "b")
    table.loc[means, "se"] = 0.1
    (first, numbers), (second, _) = numbers_of("attention_entropy", table)
    assert first == "Layer means: attention entropy"
    assert second == "Layer means: normalised entropy"
    assert numbers.header == ["layer (nats)", "a", "b"]
    assert [[cell.split(" ")[0] for cell in row] for row in numbers.rows] == [
        ["1", "0.0", "10.0"], ["2", "1.0", "11.0"], ["3", "", "12.0"],
    ]  # fmt: skip
    assert "(\N{MINUS SIGN}0.2 to 0.2)" in numbers.rows[0][1]


def test_similarities_stand_at_their_pair():
    specs = (Spec("a", **SMALL), Spec("b", **SMALL))
    table = make_result(specs)["cka"].copy()
    table["value"] = np.where(table["model"] == "a", 0.1, 0.2) + np.where(
        table["other_model"] == "a", 0.01, 0.02
    )
    ((_, numbers),) = numbers_of("cka", table)
    assert numbers.header == ["", "a", "b"]
    assert [[cell[:4] for cell in row] for row in numbers.rows] == [
        ["a", "0.11", "0.12"], ["b", "0.21", "0.22"],
    ]  # fmt: skip
    single = make_result([Spec("a", depth=1, heads=1)])["cka"]
    assert numbers_of("cka", single)[0][1].rows == [["a", ""]]
    assert numbers_of("head_kl", RESULT["head_kl"].head(0)) == []


@pytest.mark.parametrize("name", ["attention_distance", "head_kl"])
def test_models_that_a_table_lacks_are_named(name):
    result = make_result([Spec("a", **SMALL), Spec("r", family="resnet"), Spec("b", **SMALL)])
    assert remarks_of(name, result) == ["No attention, and so not shown here: r."]
    table = result[name]
    partial = replace(result, tables={name: table[table["model"] != "b"]})
    assert remarks_of(name, partial)[1] == "Without values: b."
    empty = make_result([Spec("r", family="resnet")])
    assert remarks_of(name, empty)[1] == "No model here has attention that could be measured."
    assert remarks_of("cka", result) == []


def test_models_without_prefix_and_with_windows_are_named():
    result = make_result([Spec("a", **SMALL), Spec("n", prefix=0, **SMALL), MIXED[5]])
    plain, windows = remarks_of("prefix_mass", result)
    assert plain == "No prefix tokens: n, swin-tiny."
    assert windows.startswith(
        "swin-tiny looks through windows: at most 0 of a head's attention goes to padding and at "
        "most 9"
    )
    assert "to masked keys" in windows
