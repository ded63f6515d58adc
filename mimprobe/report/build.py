"""A result becomes one page that opens offline, with its figures as files beside it.

What belongs here: which files a report has, and in which order they are written. What does not:
the words (`summary`, `sections`, `facts`) and the look of the page (`template.html`, `style.css`).
"""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mimprobe import __version__
from mimprobe.claims import (
    TOLD,
    Verdict,
    claims_of,
    claims_table,
    differences,
    evaluate_claims,
    layer_test_differences,
)
from mimprobe.claims.intervals import LEAST_IMAGES
from mimprobe.errors import OutputError
from mimprobe.figures import Style, model_styles
from mimprobe.report import facts, numbers, readings, remarks, sections, steps
from mimprobe.report.numbers import Numbers
from mimprobe.report.plate import Plate
from mimprobe.report.plates import plates_of
from mimprobe.report.readouts import readout_findings, readout_numbers
from mimprobe.report.rendering import Picture, render
from mimprobe.report.summary import intervals_told, summarise
from mimprobe.report.verdicts import (
    claims_shown,
    differences_shown,
    judged_claims,
    layer_differences_shown,
    not_judged,
)
from mimprobe.report.wording import breakable, interval, value_of
from mimprobe.tables import (
    LAYER_TESTS,
    STEP,
    Result,
    files_of,
    holds_result,
    register_files,
    write_atomically,
    write_text,
)

PAGE_NAME = "report.html"
FIGURES_FOLDER = "figures"
CLAIMS_NAME, DIFFERENCES_NAME = "claims.csv", "differences.csv"
LAYER_NAME = "layer_differences.csv"

BEHIND = {
    DIFFERENCES_NAME: "Layer means, averaged over parts of the network. By layer, where two models "
    "have as many:",
    LAYER_NAME: "Accuracy that the first model lost less that which the other lost, after so many "
    "changes; the variance between seeds is in the intervals. As a table:",
}
"""What tables of differences show, before the link to their file."""


@dataclass(frozen=True)
class Judgement:
    """What the models' values say about each other."""

    verdicts: Sequence[Verdict]
    differences: Mapping[str, pd.DataFrame]
    """By the name of their file."""

    def tables(self) -> list[tuple[str, str, Sequence[tuple[str, Numbers]]]]:
        """Give each file of differences with what it adds to the page, and the tables shown."""
        shown = {DIFFERENCES_NAME: differences_shown, LAYER_NAME: layer_differences_shown}
        found = [(name, table, shown[name](table)) for name, table in self.differences.items()]
        return [(name, BEHIND[name], told) for name, _, told in found if told]


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it."""

    name: str
    caption: str
    alternative: str
    source: str


@dataclass(frozen=True)
class Section:
    """What the page says about one table."""

    anchor: str
    title: str
    table: str
    shown: Sequence[Shown]
    reading: Sequence[str]
    facts: Sequence[tuple[str, str]]
    remarks: Sequence[str]
    numbers: Sequence[tuple[str, Numbers]]


def write_report(
    result: Result, directory: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write `report.html`, `figures/NAME.png` and `figures/NAME.pdf`, and the tables beside them.

    `claims.csv` has the verdicts on the claims, `differences.csv` the paired differences between
    models, and `layer_differences.csv` those of layer tests; a result with the table of no claim
    has none of them. In the result's own folder, as
    `Result.write` or `mimprobe probe` made it, only these, page and figures are added. Any other
    folder gets the tables too. The page comes last: where it stands, the report is whole.

    Args:
        result: measured, or read back.
        directory: the folder; made if it is not there.
        overwrite: replace an earlier report, or an earlier result, in that folder.

    Returns:
        The path of the page.

    Raises:
        OutputError: the folder holds a report, another result or other files, and `overwrite` is
            not set.
    """
    target = Path(directory)
    if not holds_result(target, result):
        result.write(target, overwrite=overwrite)
    elif (target / PAGE_NAME).exists() and not overwrite:
        raise OutputError(
            f"{target} already holds a report; pass --overwrite (overwrite=True) to replace it"
        )
    looks = model_styles(
        {str(model["name"]): str(model["kind"]) for model in result.manifest.get("models", [])}
    )
    pictures = {
        name: [(plate, render(plate)) for plate in plates_of(name, table, looks, result.manifest)]
        for name, table in result.items()
    }
    judged = _judge(result)
    page = _page(result, looks, pictures, judged)
    _remove_earlier(target)
    drawn = [one for several in pictures.values() for one in several]
    _write_beside(target, {**_csv_files(judged), **_figure_files(drawn)})
    write_text(target / PAGE_NAME, page)
    return target / PAGE_NAME


def _judge(result: Result) -> Judgement | None:
    """Judge a result; None where it has the table of no claim."""
    asked = {claim.table for claim, _ in claims_of(result).values() if claim.table in result}
    if not asked:
        return None
    apart = {}
    if not asked <= set(LAYER_TESTS):
        apart[DIFFERENCES_NAME] = differences(result)
    if asked & set(LAYER_TESTS):
        apart[LAYER_NAME] = layer_test_differences(result)
    watched = steps.is_watched(result)  # one network: there is nothing to hold claims against
    return Judgement([] if watched else evaluate_claims(result), apart)


def _remove_earlier(target: Path) -> None:
    """Remove the page of an earlier report first, then what stood beside it."""
    for name in (PAGE_NAME, CLAIMS_NAME, DIFFERENCES_NAME, LAYER_NAME):
        (target / name).unlink(missing_ok=True)
    figures = (target / FIGURES_FOLDER).resolve()
    for name in files_of(target):
        path = target / name
        if path.resolve().parent == figures and path.is_file():
            path.unlink()


def _csv_files(judged: Judgement | None) -> dict[str, bytes]:
    if judged is None:
        return {}
    tables = {CLAIMS_NAME: claims_table(judged.verdicts), **judged.differences}
    return {name: table.to_csv(index=False).encode() for name, table in tables.items()}


def _figure_files(drawn: Sequence[tuple[Plate, Picture]]) -> dict[str, bytes]:
    return {
        f"{FIGURES_FOLDER}/{plate.name}.{kind}": data
        for plate, picture in drawn
        for kind, data in (("png", picture.png), ("pdf", picture.pdf))
    }


def _write_beside(target: Path, files: Mapping[str, bytes]) -> None:
    """Note the files in the manifest, then write them: none is left behind by an interruption."""
    register_files(target, [PAGE_NAME, *files])
    for name, data in files.items():
        write_atomically(target / name, partial(_put, data))


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def _page(
    result: Result,
    looks: Mapping[str, Style],
    pictures: Mapping[str, Sequence[tuple[Plate, Picture]]],
    judged: Judgement | None,
) -> str:
    """Fill the template; every value is escaped by it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["breakable"] = breakable
    verdicts = judged.verdicts if judged else ()
    findings, columns = (
        (steps.step_findings(result), [])
        if steps.is_watched(result)
        else summarise(result, looks, judged_claims(verdicts))
    )
    findings = [*readout_findings(result, looks), *findings]
    models = result.manifest.get("models", [])
    return environment.get_template("template.html").render(
        title=sections.page_title(result),
        subtitle=facts.subtitle(result),
        images=facts.images_seen(result),
        claims=claims_shown(verdicts, result, looks),
        not_judged=not_judged(verdicts),
        beside=any(part.verdict == TOLD for verdict in verdicts for part in verdict.parts),
        least=LEAST_IMAGES,
        differences=judged.tables() if judged else [],
        intervals=intervals_told(result),
        findings=findings,
        columns=columns,
        models=[facts.model_facts(model, looks[str(model["name"])]) for model in models],
        model_columns=facts.MODEL_COLUMNS,
        sections=[_section(name, result, pictures[name]) for name in result],
        notes=result.manifest.get("notes", []),
        skipped=facts.skipped_images(result.manifest),
        run=facts.run_facts(result.manifest),
        version=__version__,
        value_of=value_of,
        interval=interval,
    )


def _section(name: str, result: Result, drawn: Sequence[tuple[Plate, Picture]]) -> Section:
    title, watched = readings.title_of(name), STEP in result[name]
    return Section(
        anchor=name.replace("_", "-"),
        title=title,
        table=name,
        shown=[_shown(title, plate, picture) for plate, picture in drawn],
        reading=steps.step_reading(name) if watched else readings.READINGS.get(name, ()),
        facts=sections.facts_of(name, result),
        remarks=remarks.remarks_of(name, result),
        numbers=_numbers(name, result[name]),
    )


def _numbers(name: str, table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    if STEP in table:
        return steps.step_numbers(table)
    return readout_numbers(table) if name == "readout" else numbers.numbers_of(name, table)


def _shown(title: str, plate: Plate, picture: Picture) -> Shown:
    data = base64.b64encode(picture.svg).decode("ascii")
    return Shown(
        plate.name, plate.caption, f"{title}. {plate.caption}", f"data:image/svg+xml;base64,{data}"
    )
