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

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mimprobe import __version__
from mimprobe.errors import OutputError
from mimprobe.figures import Style, model_styles
from mimprobe.report import facts, sections
from mimprobe.report.numbers import Numbers
from mimprobe.report.plates import Picture, Plate, plates_of, render
from mimprobe.report.summary import summarise
from mimprobe.report.wording import breakable, interval, value_of
from mimprobe.tables import (
    Result,
    files_of,
    holds_result,
    register_files,
    write_atomically,
    write_text,
)

PAGE_NAME = "report.html"
FIGURES_FOLDER = "figures"


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

    In the result's own folder, as `Result.write` or `mimprobe probe` made it, only page and figures
    are added. Any other folder gets the tables too. The page comes last: where it stands, the
    report is whole.

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
        name: [(plate, render(plate)) for plate in plates_of(name, table, looks)]
        for name, table in result.items()
    }
    page = _page(result, looks, pictures)
    _remove_earlier(target)
    _write_figures(target, [drawn for several in pictures.values() for drawn in several])
    write_text(target / PAGE_NAME, page)
    return target / PAGE_NAME


def _remove_earlier(target: Path) -> None:
    """Remove the page of an earlier report first, then its figures."""
    (target / PAGE_NAME).unlink(missing_ok=True)
    figures = (target / FIGURES_FOLDER).resolve()
    for name in files_of(target):
        path = target / name
        if path.resolve().parent == figures and path.is_file():
            path.unlink()


def _write_figures(target: Path, drawn: Sequence[tuple[Plate, Picture]]) -> None:
    """Note the files in the manifest, then write them: none is left behind by an interruption."""
    files = {
        f"{FIGURES_FOLDER}/{plate.name}.{kind}": data
        for plate, picture in drawn
        for kind, data in (("png", picture.png), ("pdf", picture.pdf))
    }
    register_files(target, [PAGE_NAME, *files])
    for name, data in files.items():
        write_atomically(target / name, partial(_put, data))


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def _page(
    result: Result,
    looks: Mapping[str, Style],
    pictures: Mapping[str, Sequence[tuple[Plate, Picture]]],
) -> str:
    """Fill the template; every value is escaped by it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["breakable"] = breakable
    findings, columns = summarise(result, looks)
    models = result.manifest.get("models", [])
    return environment.get_template("template.html").render(
        title=sections.page_title(result),
        subtitle=facts.subtitle(result),
        images=facts.images_seen(result),
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
    title = sections.title_of(name)
    return Section(
        anchor=name.replace("_", "-"),
        title=title,
        table=name,
        shown=[_shown(title, plate, picture) for plate, picture in drawn],
        reading=sections.READINGS.get(name, ()),
        facts=sections.facts_of(name, result),
        remarks=sections.remarks_of(name, result),
        numbers=sections.numbers_of(name, result[name]),
    )


def _shown(title: str, plate: Plate, picture: Picture) -> Shown:
    data = base64.b64encode(picture.svg).decode("ascii")
    return Shown(
        plate.name, plate.caption, f"{title}. {plate.caption}", f"data:image/svg+xml;base64,{data}"
    )
