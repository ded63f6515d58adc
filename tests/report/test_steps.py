"""What a report says of a run that was watched."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import THREE, layer_tables, make_result

from mimprobe.figures import model_styles
from mimprobe.report.plates import plates_of
from mimprobe.report.rendering import render
from mimprobe.report.sections import interval_of, page_title
from mimprobe.report.steps import is_watched, step_findings, step_numbers
from mimprobe.tables import Result, read_result

ONE = THREE[:1]
RUN = make_result(ONE)
NAME = ONE[0].name
STEPS = (0, 10, 20, 30, 40, 50, 60, 70)


def over_steps(table):
    """Layer l moves by l hundredths in each step."""
    moved = [
        table.assign(step=step, value=table["value"] + table["layer"] * step / 100)
        for step in STEPS
    ]
    return pd.concat(moved, ignore_index=True)


def to_final():
    rows = [
        {"model": NAME, "kind": "mim", "step": step, "site": f"blocks.{layer}.out",
         "layer": layer, "head": pd.NA, "metric": "cka_to_final", "unit": "1",
         "value": min(1.0, 0.5 + 0.1 * layer + step / 100), "std": np.nan, "se": 0.01, "n": 64,
         "note": ""}
        for step in STEPS for layer in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


WATCHED = replace(
    RUN,
    tables={
        "attention_distance": over_steps(RUN["attention_distance"]),
        "cka": over_steps(RUN["cka"]),
        "cka_to_final": to_final(),
    },
)


def test_tables_with_steps_are_known_by_their_column():
    assert is_watched(WATCHED)
    assert not is_watched(RUN)
    assert page_title(WATCHED) == f"{NAME} during training"
    assert page_title(RUN) == NAME


def test_lines_of_layers_and_heads_are_drawn_once_for_a_metric_and_its_normalised_form():
    looks = model_styles({NAME: "mim"})
    names = [
        plate.name for name, table in WATCHED.items() for plate in plates_of(name, table, looks)
    ]
    assert names == [
        "attention_distance_steps", "attention_distance_steps_heads", "cka_to_final_steps",
    ]  # fmt: skip
    (plate,) = plates_of("cka_to_final", WATCHED["cka_to_final"], looks)
    assert render(plate).png.startswith(b"\x89PNG")


def test_points_of_curves_are_left_out():
    table = over_steps(layer_tables(ONE)["effective_rank"])
    assert [plate.name for plate in plates_of("effective_rank", table, model_styles(table))] == [
        "effective_rank_steps"
    ]


def test_numbers_show_six_steps_from_first_to_last():
    ((title, numbers),) = step_numbers(WATCHED["cka_to_final"])
    assert title == f"{NAME}, layer means: CKA with the layer at the end"
    assert list(numbers.header) == ["layer", *(f"step {at}" for at in (0, 10, 30, 40, 60, 70))]
    assert [row[0] for row in numbers.rows] == ["1", "2", "3"]
    assert numbers.rows[0][1].startswith("0.50")
    assert step_numbers(WATCHED["cka"]) == []


def test_findings_name_the_layer_that_moved_most_and_when_all_settled():
    distance, final = step_findings(WATCHED)
    depth = int(RUN["attention_distance"]["layer"].max()) + 1
    assert distance.text.startswith(f"Layer {depth} changed most: ")
    assert "at step 0" in distance.text
    assert distance.text.endswith("at step 70.")
    assert final.text.startswith("At step 0 the layer least like its final state is 1, with 0.50")
    # Layer 1 is at 0.9 at step 40, and above it from step 50 on.
    assert "from step 50 on all layers are above 0.9" in final.text
    assert final.section == "cka_to_final"


def test_a_run_seen_once_says_so():
    table = WATCHED["attention_distance"].query("step == 0")
    (finding,) = step_findings(replace(WATCHED, tables={"attention_distance": table}))
    assert finding.text == "Seen at step 0 only."


def test_intervals_of_lines_are_told_without_dots():
    assert "dot" not in interval_of(WATCHED["attention_distance"])
    assert "jackknife" in interval_of(WATCHED["cka_to_final"])


def test_rewriting_keeps_what_stands_beside_and_reads_back(tmp_path):
    first = replace(WATCHED, tables={"cka_to_final": to_final().query("step < 20")})
    first.rewrite(tmp_path)
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "0.bin").write_bytes(b"x")
    WATCHED.rewrite(tmp_path, beside=["features/0.bin"])
    WATCHED.rewrite(tmp_path)
    found = read_result(tmp_path)
    assert found["cka_to_final"]["step"].dtype == np.int64
    assert list(found["cka_to_final"]["step"].unique()) == list(STEPS)
    Result({}, found.manifest, found.per_image).write(tmp_path, overwrite=True)
    assert not (tmp_path / "features" / "0.bin").exists()
    assert not (tmp_path / "cka_to_final.csv").exists()


@pytest.mark.parametrize("broken", ["cka_to_final.csv", "manifest.json"])
def test_an_interrupted_rewriting_leaves_every_file_whole(tmp_path, broken, monkeypatch):
    from mimprobe.tables import result as result_file

    first = replace(WATCHED, tables={"cka_to_final": to_final().query("step < 20")})
    first.rewrite(tmp_path)
    write = result_file.write_text

    def stop(path, text):
        if path.name == broken:
            raise OSError("no space left")
        write(path, text)

    monkeypatch.setattr(result_file, "write_text", stop)
    with pytest.raises(OSError, match="no space"):
        WATCHED.rewrite(tmp_path)
    monkeypatch.undo()
    steps = list(read_result(tmp_path)["cka_to_final"]["step"].unique())
    assert steps == ([0, 10] if broken == "cka_to_final.csv" else list(STEPS))
