"""What a report says of read-outs."""

from readout_table import readout_result

from mimprobe.figures import model_styles
from mimprobe.report import write_report
from mimprobe.report.readouts import readout_findings, readout_numbers
from mimprobe.tables import Result, best_readouts, join_per_image


def test_the_page_tells_best_layers_definition_and_caution(tmp_path):
    page = write_report(readout_result(), tmp_path / "out").read_text()
    assert "Where classes are read out best" in page
    assert "n = 2,000 images of 2 classes; 3 seeds" in page
    assert "standard errors over images and seeds" in page
    assert "chosen on the images on which it is judged" in page
    assert "no standard errors" not in page
    assert (tmp_path / "out" / "figures" / "readout.png").stat().st_size > 10_000


def test_the_finding_names_layer_pooling_and_interval():
    result = readout_result()
    (finding,) = readout_findings(result, model_styles(result["readout"]))
    best = best_readouts(result["readout"]).iloc[0]
    pooled = {"mean": "mean patch", "cls": "class token"}[best["pooling"]]
    value = round(100 * best["value"])
    assert f"at layer 3, {pooled}, {value}\N{NO-BREAK SPACE}%" in finding.text
    assert f"({value - 2} to {value + 2})" in finding.text
    assert finding.section == "readout"
    assert readout_findings(Result({}, {}, join_per_image([])), {}) == []


def test_numbers_have_every_layer_from_one():
    told = dict(readout_numbers(readout_result()["readout"]))
    assert [len(numbers.rows) for numbers in told.values()] == [4, 4, 4, 4, 4]
    numbers = told["Accuracy: linear probe, mean patch"]
    assert numbers.header == ["layer", "a", "b"]
    assert [row[0] for row in numbers.rows] == ["1", "2", "3", "4"]
    assert all("%" in str(cell) for row in numbers.rows for cell in row[1:])
