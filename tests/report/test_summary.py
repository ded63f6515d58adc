"""The summary tells the differences that are there, with direction, numbers and models right."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import MIXED, Spec, make_result, per_image_of

from mimprobe.figures import model_styles
from mimprobe.report.summary import summarise

WAVE = 0.92 * np.array([-1.0, 1.0] * 8)  # over 16 images; its mean is 0 +- 0.506
MINUS = "\N{MINUS SIGN}"
DEPTH = 6
"""The last third are layers 4 and 5, the first half 0 to 2, the last three 3 to 5."""


def steady(by_layer, *heads, noise=0.0):
    """Make (layer, head, image) numbers: a level for each layer, an offset for each head."""
    numbers = np.add.outer(np.add.outer(np.array(by_layer, float), np.array(heads)), 0 * WAVE)
    return numbers + noise * WAVE


def summary(known, **kinds):
    """Summarise known numbers of models, as text by title and as values by label."""
    specs = [Spec(name, kind, depth=DEPTH, heads=2) for name, kind in kinds.items()]
    result = replace(make_result(specs, images=16), per_image=per_image_of(known))
    findings, columns = summarise(result, model_styles(kinds))
    told = {finding.title: finding.text.striptags() for finding in findings}
    return told, {column.label: column for column in columns}


TITLE = "How far heads look"
LABEL = "Mean attention distance, last third of layers"


def distances(**levels):
    """The level of the last third by model; layers before it would give another answer."""
    return {
        (model, "attention_distance"): steady([99 - level] * 4 + [level - 1, level + 1], -2, 2)
        for model, level in levels.items()
    }


@pytest.mark.parametrize("order", [("near", "far"), ("far", "near")])
def test_which_model_looks_farther_and_by_how_much(order):
    known = distances(near=10, far=25)
    known["far", "attention_distance"] += WAVE
    kinds = {"near": "mim", "far": "supervised"}
    told, columns = summary(known, **{model: kinds[model] for model in order})
    assert told[TITLE].startswith(
        "In the last third of the layers, heads of far look 15.0 px (14.5 to 15.5) farther than "
        f"heads of near. {LABEL}: "
    )
    assert "far 25.0 px (24.5 to 25.5)" in told[TITLE]
    assert "near 10.0 px (10.0 to 10.0)" in told[TITLE]
    values = columns[LABEL].values
    assert columns[LABEL].unit == "px"
    assert {model: value.value for model, value in values.items()} == {"near": 10, "far": 25}


def test_what_the_images_do_not_tell_apart_is_no_claim():
    known = distances(a=10, b=10)
    known["b", "attention_distance"] += WAVE
    told, _ = summary(known, a="mim", b="supervised")
    assert "farther" not in told[TITLE]
    assert f"cannot be told apart: +0.0 px ({MINUS}0.5 to +0.5)." in told[TITLE]


def test_an_untrained_control_is_shown_but_not_compared():
    known = distances(near=10, far=25, control=90)
    told, columns = summary(known, near="mim", far="supervised", control="untrained")
    assert "heads of far look 15.0 px" in told[TITLE]
    assert "control 90.0 px" in told[TITLE]
    assert set(columns[LABEL].values) == {"near", "far", "control"}
    told, _ = summary(distances(near=10, control=90), near="mim", control="untrained")
    assert "heads of control look 80.0 px" in told[TITLE]


def test_of_many_models_the_largest_difference():
    known = distances(a=10, b=25, c=5, d=20, e=90)
    told, _ = summary(known, a="mim", b="mim", c="supervised", d="other", e="untrained")
    assert told[TITLE] == (
        "In the last third of the layers, heads of b look 20.0 px (20.0 to 20.0) farther than "
        f"heads of c, the largest difference among the 4 trained models. {LABEL}: from c 5.00 px "
        "(5.00 to 5.00) to e 90.0 px (90.0 to 90.0)."
    )


def test_where_focused_and_broad_heads_stand_side_by_side():
    known = {
        ("wide", "attention_entropy"): steady([0] * DEPTH, 1, 3, 4) + 0 * WAVE,
        ("even", "attention_entropy"): steady([5] * DEPTH, 1, 1.5, 1),
    }
    told, columns = summary(known, even="supervised", wide="mim")
    assert told["Focused and broad heads side by side"].startswith(
        "In the last third of the layers, the entropies of a layer's broadest and narrowest head "
        "lie 2.50 nats (2.50 to 2.50) farther apart in wide than in even."
    )
    values = columns["Spread of head entropies, last third of layers"].values
    assert {model: value.value for model, value in values.items()} == {"even": 0.5, "wide": 3}


def test_how_the_kl_between_heads_changes():
    known = {
        ("up", "head_kl"): steady([1, 1, 1, 4, 4, 4], 0, noise=0),
        ("down", "head_kl"): steady([2, 2, 2, 0.5, 0.5, 0.5], 0),
    }
    known["up", "head_kl"][3:] += WAVE
    told, columns = summary(known, up="mim", down="supervised")
    assert told["How differently heads look"] == (
        "From the first half of the layers to the last three, the KL between heads of one layer "
        "changes by +3.0 nats (+2.5 to +3.5) in up (from 1.00 to 4.00) and by "
        f"{MINUS}1.50 nats ({MINUS}1.50 to {MINUS}1.50) in down (from 2.00 to 0.500)."
    )
    before = columns["KL between heads, first half of layers"].values
    after = columns["KL between heads, last three layers"].values
    assert [before["up"].value, after["up"].value, after["down"].value] == [1, 4, 0.5]


def test_prefix_tokens_in_percent_of_the_models_that_have_them():
    known = {
        ("a", "prefix_mass"): steady([0.25] * DEPTH, 0),
        ("b", "prefix_mass"): steady([0, 0, 0, 0.5, 0.5, 0.5], 0.125),
        ("c", "head_kl"): steady([1] * DEPTH, 0),
    }
    told, columns = summary(known, a="mim", b="supervised", c="mim")
    assert told["Attention on prefix tokens"] == (
        "Averaged over layers, patches of b give 12.5 % (12.5 to 12.5) of all attention more to "
        "class, distillation or register tokens than patches of a. Attention on prefix tokens, all "
        "layers: a 25.0 % (25.0 to 25.0) and b 37.5 % (37.5 to 37.5)."
    )
    assert set(columns["Attention on prefix tokens, all layers"].values) == {"a", "b"}


def test_how_alike_layers_are():
    specs = [Spec(name, kind, depth=2, heads=1) for name, kind in (("a", "mim"), ("b", "other"))]
    result = make_result([*specs, Spec("c", "untrained", depth=2, heads=1)])
    table = result["cka"].copy()
    table["se"] = 0.01
    table["value"] = 0.5
    table.loc[(table["model"] == "a") & (table["other_model"] == "a"), "value"] = 0.8
    ends = (table["layer"] == 1) & (table["other_layer"] == 1)
    for pair, value in ((["a", "b"], 0.3), (["a", "c"], 0.1), (["b", "c"], 0.2)):
        both = table["model"].isin(pair) & table["other_model"].isin(pair)
        table.loc[ends & both & (table["model"] != table["other_model"]), "value"] = value
    findings, columns = summarise(replace(result, tables={"cka": table}), model_styles(table))
    text = next(one.text for one in findings if one.section == "cka").striptags()
    assert text == (
        "Mean CKA of two layers of a model: a 0.80 (0.78 to 0.82), b 0.50 (0.48 to 0.52) and c "
        "0.50 (0.48 to 0.52). The last layers of a and b have a CKA of 0.30 (0.28 to 0.32)."
    )
    assert columns[-1].values["a"].value == pytest.approx(0.8)


def test_the_least_alike_pair_of_many():
    result = make_result(MIXED[:4])
    table = result["cka"].copy()
    names = [spec.name for spec in MIXED[:4]]
    pair = table["model"].isin(names[1:3]) & table["other_model"].isin(names[1:3])
    table.loc[pair & (table["layer"] == 11) & (table["other_layer"] == 11), "value"] = 0.01
    findings, _ = summarise(replace(result, tables={"cka": table}), model_styles(table))
    wanted = f"least alike are those of {names[1]} and {names[2]}, with 0.01 ({MINUS}0.01 to 0.03)."
    assert findings[-1].text.striptags().endswith(wanted)


def test_one_model_is_told_without_comparison():
    told, columns = summary(distances(only=10), only="mim")
    assert told[TITLE] == f"{LABEL}: only 10.0 px (10.0 to 10.0)."
    assert "last layers" not in told["How alike layers are"]
    assert next(iter(columns)) == LABEL


def test_one_image_gives_no_interval():
    result = make_result([Spec("a", depth=2), Spec("b", "supervised", depth=2)], images=1)
    findings, columns = summarise(result, model_styles({"a": "mim", "b": "supervised"}))
    assert findings
    assert all("(" not in finding.text.striptags().replace("(from", "") for finding in findings)
    assert all(np.isnan(value.reach) for column in columns for value in column.values.values())


def test_models_without_attention_and_empty_results():
    result = make_result([Spec("r", "supervised", family="resnet"), Spec("s", family="resnet")])
    findings, columns = summarise(result, model_styles({"r": "supervised", "s": "mim"}))
    assert [finding.section for finding in findings] == ["cka"]
    assert [column.label for column in columns] == ["Mean CKA of two layers of a model"]
    assert summarise(replace(result, tables={}), {}) == ([], [])


def test_names_are_escaped():
    name = "<script>alert(1)</script>"
    result = make_result([Spec(name, depth=2), Spec("b", depth=2)])
    findings, _ = summarise(result, model_styles({name: "mim", "b": "mim"}))
    for finding in findings:
        assert "<script>" not in finding.text
        assert "&lt;script&gt;" in finding.text


def test_one_image_tells_no_difference():
    kinds = {"near": "mim", "far": "supervised"}
    specs = [Spec(name, kind, depth=DEPTH, heads=2) for name, kind in kinds.items()]
    findings, _ = summarise(make_result(specs, images=1), model_styles(kinds))
    (text,) = [found.text.striptags() for found in findings if found.title == TITLE]
    assert "cannot be told apart" in text
    assert "farther than" not in text
