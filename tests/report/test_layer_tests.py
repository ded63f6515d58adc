"""Plates, facts, numbers and words of layer tests, and their page."""

import json
from dataclasses import replace

import pytest
from layer_tables import THREE, layer_result
from matplotlib.figure import Figure
from synthetic import Spec, make_result

from mimprobe.claims import evaluate_claims, layer_test_differences
from mimprobe.claims.losses import mean_loss
from mimprobe.figures import model_styles
from mimprobe.report import write_report
from mimprobe.report.facts import run_facts
from mimprobe.report.numbers import numbers_of
from mimprobe.report.plates import plates_of
from mimprobe.report.remarks import remarks_of
from mimprobe.report.rendering import render
from mimprobe.report.sections import facts_of, page_title
from mimprobe.report.summary import intervals_told, summarise
from mimprobe.report.verdicts import claims_shown, layer_differences_shown
from mimprobe.tables import read_result

RESULT = layer_result(images=60)
LOOKS = model_styles({spec.name: spec.kind for spec in THREE})
MIM, SUPERVISED, _ = (spec.name for spec in THREE)
SWIN = Spec("swin", "mim", "swin", stages=(2, 2, 6, 2))


@pytest.mark.parametrize(
    ("name", "ends"),
    [("layer_swap", ["", "_pairs"]), ("layer_drop", ["", "_blocks"]),
     ("layer_reset", ["", "_blocks"]), ("layer_heads", ["_heads"])],
)  # fmt: skip
def test_figures_of_each_test_and_read_out(name, ends):
    plates = plates_of(name, RESULT[name], LOOKS, RESULT.manifest)
    assert [plate.name for plate in plates] == [
        f"{name}_{metric}{end}" for metric in ("knn_accuracy", "drift") for end in ends
    ]
    assert all(render(plate).png.startswith(b"\x89PNG") for plate in plates[: len(ends)])


def test_the_manifest_gives_depth_and_chance():
    result = layer_result([SWIN], images=20)
    curve, pairs, *_ = plates_of("layer_swap", result["layer_swap"],
                                 model_styles({"swin": "mim"}), result.manifest)  # fmt: skip
    (panel,) = curve.draw(Figure())
    assert "chance" in [text.get_text() for text in panel.texts]
    (panel,) = pairs.draw(Figure())
    assert panel.images[0].get_array().shape == (12, 12)
    (remark,) = remarks_of("layer_swap", result)
    assert remark == (
        "Of the 66 pairs of blocks of swin, 6 can change places; its curve draws from 6 blocks."
    )
    assert remarks_of("layer_heads", result) == remarks_of("layer_swap", RESULT) == []


def test_facts_of_a_read_out():
    facts = dict(facts_of("layer_swap", RESULT))
    assert facts["Images"] == "n = 60"
    assert facts["Read-outs"] == (
        "accuracy of k-nearest neighbours (k = 20), CKA to the intact network's features"
    )
    assert facts["Read out at"] == "layer 12; what is changed only behind it is left out"
    assert facts["Pooling"] == "mean of the patch tokens"
    assert (facts["Seeds"], facts["By chance"]) == ("3", "0.025")
    assert "errors over images and seeds, cut at the ends of" in facts["Intervals"]
    assert "; the widest 95 % interval of a cell: " in facts["Intervals"]
    last = replace(RESULT, manifest={"analyzers": {"layer_swap": {"layer": None}}})
    assert dict(facts_of("layer_swap", last))["Read out at"].startswith("the last block")
    single = dict(facts_of("layer_swap", layer_result(images=9, seeds=1)))
    assert single["Seeds"] == "1; one draw tells nothing of others"
    assert "errors over images, cut" in single["Intervals"]
    table = RESULT["layer_drop"]
    still = replace(RESULT, tables={"layer_drop": table[table["seed"].isna()]})
    assert dict(facts_of("layer_drop", still))["Seeds"] == "none; nothing here is drawn at random"
    noted = replace(RESULT, tables={"layer_drop": table.assign(note="why not", se=float("nan"))})
    assert dict(facts_of("layer_drop", noted))["Intervals"] == (
        "no standard errors; without: why not"
    )


def test_numbers_are_those_of_the_curves():
    found = dict(numbers_of("layer_swap", RESULT["layer_swap"]))
    assert list(found) == ["Accuracy of nearest neighbours", "CKA to the intact network"]
    numbers = found["CKA to the intact network"]
    assert list(numbers.header) == ["changed", *(spec.name for spec in THREE)]
    assert [row[0] for row in numbers.rows] == ["0 (intact)", *map(str, range(2, 13))]
    assert numbers.rows[0][1].startswith("1.0")
    assert numbers_of("layer_heads", RESULT["layer_heads"]) == []


def test_titles_say_what_was_done():
    names = f"{MIM}, {SUPERVISED} and random:simmim-tiny40"
    assert page_title(RESULT) == f"{names}: layer tests"
    swapped = layer_result(tests=("swap",), images=9)
    assert page_title(swapped) == f"{names}: layers exchanged"
    assert page_title(make_result(THREE)) == names


def test_the_summary_gives_accuracy_and_losses():
    findings, columns = summarise(RESULT, LOOKS)
    assert findings == []
    assert [column.label for column in columns] == [
        f"Accuracy of k-nearest neighbours, {what}" for what in (
            "intact", "lost to exchanging layers", "lost without the last one to three",
            "lost to resetting the last one to three",
        )
    ]  # fmt: skip
    lost = mean_loss(RESULT["layer_drop"], RESULT.per_image, SUPERVISED, "knn_accuracy",
                     lambda dropped: dropped in (1, 2, 3))  # fmt: skip
    assert columns[2].values[SUPERVISED] == lost.estimated()[0]
    own = RESULT.per_image.select(model=MIM, site="swap", layer=0)
    assert columns[0].values[MIM].value == pytest.approx(own.values.mean())
    assert "between seeds" in intervals_told(RESULT)
    assert "CKA" not in intervals_told(RESULT)
    assert "between seeds" not in intervals_told(make_result(THREE))


def test_what_mim_models_lose_stands_beside_and_has_no_mark():
    _, dropping = claims_shown(evaluate_claims(RESULT), RESULT, LOOKS)
    (judged,) = dropping.judged
    (mark, own), (dot, beside) = judged.parts
    assert (mark, dot) == (judged.symbol, "\N{MIDDLE DOT}")
    assert SUPERVISED in own.striptags()
    assert beside.striptags().startswith(f"{MIM} loses 0.")
    assert dropping.section == "layer_drop"


def test_differences_have_a_row_for_each_point():
    table = layer_test_differences(RESULT)
    found = dict(layer_differences_shown(table))
    assert len(found) == 3
    numbers = found[f"Loss of {MIM} less that of {SUPERVISED}"]
    assert list(numbers.header)[:2] == ["changed", "swap: accuracy of nearest neighbours"]
    one, two = (row for row in numbers.rows if row[0] in ("1", "2"))
    assert one[1] == ""
    assert two[1][0] in "+\N{MINUS SIGN}"


def test_the_page_is_whole(tmp_path):
    page = write_report(RESULT, tmp_path / "out").read_text(encoding="utf-8")
    for words in ("Exchanging layers hurts supervised models more", "layer_differences.csv",
                  "Heads masked", "what stands after a dot decides nothing"):  # fmt: skip
        assert words in page
    for words in ("locality", "was not measured", 'href="differences.csv"', "{first}"):
        assert words not in page
    files = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert "layer_differences.csv" in files
    assert "differences.csv" not in files
    write_report(read_result(tmp_path / "out"), tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "differences.csv").exists()


def test_the_images_that_read_outs_learn_from_are_told():
    learnt = {"train_images": {"source": "photos/train", "n": 500, "sha256": "cd"}}
    told = dict(run_facts({**RESULT.manifest, **learnt}))["Images that read-outs learn from"]
    assert ("source", "photos/train") in told
    assert "Images that read-outs learn from" not in dict(run_facts(RESULT.manifest))
