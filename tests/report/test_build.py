"""The page and the files beside it: whole, self-contained, escaped, and the same every time."""

import base64
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import unquote

import pandas as pd
import pytest
from synthetic import Spec, make_result

from mimprobe.errors import OutputError
from mimprobe.figures import model_styles
from mimprobe.report import build, write_report
from mimprobe.report.readings import TITLES
from mimprobe.report.rendering import Picture
from mimprobe.tables import Result, read_result

SMALL = {"depth": 2, "heads": 2}
SPECS = (
    Spec("vit", **SMALL), Spec("deit", "supervised", prefix=2, **SMALL),
    Spec("random:swin", "untrained", "swin", prefix=0, stages=(1, 1), **SMALL),
    Spec("resnet", "supervised", "resnet", prefix=0, **SMALL),
)  # fmt: skip
VOID = {"meta", "img", "wbr"}


class Page(HTMLParser):
    """A page taken apart: its elements with their attributes, its text, and what is not closed."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append((self.open[-1] if self.open else "", data))

    def texts(self, tag):
        return [data for inside, data in self.text if inside == tag and data.strip()]

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def manifest_of(page):
    return (page.parent / "manifest.json").read_text()


def quick(monkeypatch):
    monkeypatch.setattr(build, "render", lambda plate: Picture(b"<svg/>", b"png", b"pdf"))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A whole report of models of four families, with pictures that are none."""
    folder = tmp_path_factory.mktemp("written") / "out"
    with pytest.MonkeyPatch.context() as patched:
        quick(patched)
        return write_report(make_result(SPECS), folder)


def two_tables():
    result = make_result(SPECS[::3])
    return replace(result, tables={name: result[name] for name in ("head_kl", "cka")})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A smaller report, drawn for real."""
    return write_report(two_tables(), tmp_path_factory.mktemp("drawn") / "out")


def test_the_page_is_well_formed_and_self_contained(written):
    page = Page(written)
    assert page.open == []
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "base"}
    sources = page.attributes("src")
    assert len(sources) == len(list((written.parent / "figures").glob("*.png"))) == 19
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    style = written.read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_link_leads_to_a_file_or_a_place_that_exists(written):
    page = Page(written)
    places = set(page.attributes("id"))
    links = page.attributes("href")
    assert len(links) > 30
    for link in links:
        if link.startswith("#"):
            assert link[1:] in places, link
        else:
            assert ":" not in link
            assert (written.parent / unquote(link)).is_file(), link


def test_every_file_is_listed_in_the_manifest(written):
    files = json.loads(manifest_of(written))["files"]
    assert sorted([*files, "manifest.json"]) == sorted(contents(written.parent))
    figures = [name for name in files if name.startswith("figures/")]
    assert len(figures) == 2 * 19
    assert {Path(name).suffix for name in figures} == {".png", ".pdf"}


def test_the_page_has_its_sections_and_tables(written):
    page = Page(written)
    assert page.texts("h1") == ["4 models"]
    titles = [TITLES[name] for name in json.loads(manifest_of(written))["tables"]]
    assert len(titles) == 9
    assert page.texts("h2") == ["Summary", "Models", *titles, "How this was made"]
    headings = page.texts("th")
    assert headings[:7] == [
        "Model", "Mean attention distance, last third of layers (px)",
        "Spread of head entropies, last third of layers (nats)",
        "KL between heads, first half of layers (nats)",
        "KL between heads, last three layers (nats)", "Attention on prefix tokens, all layers (%)",
        "Mean CKA of two layers of a model",
    ]  # fmt: skip
    for heading in ("Architecture", "Parameters", "Heads", "Prefix tokens", "layer (px)", "layer"):
        assert heading in headings
    assert "No attention, and so not shown here: resnet." in written.read_text()
    links = page.texts("a")[len(page.texts("h2")) + 1 :]
    assert links[5:8] == [
        "How far heads look", "Attention on prefix tokens", "How alike the last layers are",
    ]  # fmt: skip
    assert links[:5] == [
        "MIM keeps locality in all layers",
        "Heads of supervised and contrastive models become alike at the end, MIM's do not",
        "MIM attention stays both focused and broad", "MIM layers resemble each other",
        "claims.csv",
    ]  # fmt: skip


def test_models_have_their_colour_everywhere(written):
    looks = model_styles({spec.name: spec.kind for spec in SPECS})
    marks = [mark.removeprefix("--mark:") for mark in Page(written).attributes("style")]
    assert set(marks) == {look.color for look in looks.values()}
    assert marks[:4] == [look.color for look in looks.values()]


def test_a_report_is_the_same_every_time_and_from_the_files(drawn, tmp_path, monkeypatch):
    """Another day, another folder, and tables that were written and read back."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    two_tables().write(tmp_path / "tables")
    again = write_report(read_result(tmp_path / "tables"), tmp_path / "again")
    assert contents(again.parent) == contents(drawn.parent)


def test_the_page_shows_the_figures_that_lie_beside_it(drawn):
    """As vector graphics, which nothing outside the page is needed to draw."""
    images = [attrs for tag, attrs in Page(drawn).elements if tag == "img"]
    captions = [attrs["alt"].split(". ")[0] for attrs in images]
    assert captions == ["KL between heads"] + 2 * ["Similarity of layers (CKA)"]
    for attrs in images:
        graphic = base64.b64decode(attrs["src"].split(",")[1])
        assert graphic.rstrip().endswith(b"</svg>")
        targets = re.findall(rb'xlink:href="([^"]*)"', graphic)
        assert all(target.startswith((b"#", b"data:image/png")) for target in targets)
    assert all(data[:5] in (b"%PDF-", b"\x89PNG\r") for name, data in contents(drawn.parent).items()
               if name.startswith("figures/"))  # fmt: skip


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}"


def poisoned(value, key=""):
    """Put hostile text wherever a manifest has text that does not name a kind."""
    if isinstance(value, dict):
        return {name: poisoned(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, key) for inner in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) and key not in ("name", "kind") else value


@pytest.mark.parametrize("count", [1, 3, 5])
def test_hostile_names_are_shown_as_text_everywhere(count, tmp_path, monkeypatch):
    quick(monkeypatch)
    families = ("vit", "vit", "resnet", "swin", "vit")
    specs = [
        Spec(f"{number}{HOSTILE}", "mim", family, prefix=number, **SMALL)
        for number, family in enumerate(families[:count])
    ]
    result = make_result(specs)
    manifest = poisoned(result.manifest) | {"notes": [HOSTILE]}
    manifest["images"]["skipped"] = [{"image": HOSTILE, "reason": HOSTILE}]
    page = Page(write_report(replace(result, manifest=manifest), tmp_path / "out"))
    tags = {tag for tag, _ in page.elements}
    assert "script" not in tags
    assert {attrs["src"][:5] for tag, attrs in page.elements if tag == "img"} == {"data:"}
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert all(link.startswith("#") or ":" not in link for link in page.attributes("href"))
    shown = "".join(data for _, data in page.text)
    assert shown.count(HOSTILE) > 25 + 10 * count
    assert "{{ 7 * 7 }}" in shown
    assert "<b>" not in shown


def test_plain_pages_without_attention_or_with_few_images(tmp_path, monkeypatch):
    quick(monkeypatch)
    blind = write_report(make_result(SPECS[3:]), tmp_path / "blind").read_text()
    assert "No model here has attention that could be measured." in blind
    assert "they need at least two images" not in blind
    few = write_report(make_result(SPECS, images=1), tmp_path / "few").read_text()
    assert "on this one image;" in few
    assert few.count("undecided</span>") == 4  # 1 pair, 2 models, 1 pair; CKA needs 4 images
    assert "One image has a value, and a verdict needs at least 16" in few
    assert "cka.csv" not in few
    nothing = make_result(SPECS[:1])
    empty = write_report(Result({}, {}, nothing.per_image), tmp_path / "empty").read_text()
    assert "The tables hold nothing that a summary compares" in empty


def test_verdicts_stand_first_and_in_a_file(written):
    shown = [text for inside, text in Page(written).text if inside in ("span", "h4", "h3")]
    verdicts = ("holds", "does not hold", "undecided")
    first = next(at for at, text in enumerate(shown) if text.strip() in verdicts)
    assert any("arXiv 2205.13543" in text for text in shown[:first])
    assert "What else differs" in shown[first:]
    table = pd.read_csv(written.parent / "claims.csv")
    marks = [text.strip() for text in shown if text.strip() in verdicts]
    whole = table[~((table["claim"] == "locality") & table["other_model"].isna())]
    assert marks == list(whole["verdict"])
    differences = pd.read_csv(written.parent / "differences.csv")
    assert set(differences["model"]) == {"vit", "deit"}


def test_in_the_results_own_folder_only_what_the_report_makes_is_added(tmp_path, monkeypatch):
    quick(monkeypatch)
    result = make_result(SPECS[:2])
    before = contents(result.write(tmp_path / "out"))
    assert write_report(result, tmp_path / "out") == tmp_path / "out" / "report.html"
    after = contents(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {"manifest.json"}
    added = {name for name in after if name not in before}
    assert {name.split("/")[0] for name in added} == {
        "report.html", "figures", "claims.csv", "differences.csv",
    }  # fmt: skip


def test_what_is_there_is_not_replaced_without_asking(tmp_path, monkeypatch):
    quick(monkeypatch)
    result, other = make_result(SPECS[:2]), make_result(SPECS[:1], seed=1)
    write_report(result, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="already holds a report; pass --overwrite"):
        write_report(result, tmp_path)
    with pytest.raises(OutputError, match="already holds another result; pass --overwrite"):
        write_report(other, tmp_path)
    assert contents(tmp_path) == before
    write_report(result, tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_another_report_leaves_nothing_of_the_earlier_and_all_of_the_users(tmp_path, monkeypatch):
    quick(monkeypatch)
    write_report(make_result(SPECS), tmp_path / "out")
    (tmp_path / "out" / "figures" / "mine.png").write_bytes(b"mine")
    (tmp_path / "out" / "notes.txt").write_bytes(b"mine")
    result = make_result(SPECS[:1], images=1)
    write_report(result, tmp_path / "out", overwrite=True)
    write_report(result, tmp_path / "fresh")
    mine = {"figures/mine.png": b"mine", "notes.txt": b"mine"}
    assert contents(tmp_path / "out") == {**contents(tmp_path / "fresh"), **mine}


@pytest.mark.parametrize("step", [0, 6, 7, 12, 18])
def test_an_interrupted_report_has_no_page_and_leaves_nothing(step, tmp_path, monkeypatch):
    """Six files of tables, the manifest, the manifest with all files, those, then the page."""
    quick(monkeypatch)
    out, result, original, calls = tmp_path / "out", make_result(SPECS[:1]), os.fsync, []

    def fail_in_time(handle):
        calls.append(handle)
        if len(calls) > step:
            raise KeyboardInterrupt
        original(handle)

    write_report(make_result(SPECS[1:]), out)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail_in_time)
        with pytest.raises(KeyboardInterrupt):
            write_report(result, out, overwrite=True)
    assert not (out / "report.html").exists()
    if step < 7:
        with pytest.raises(OutputError, match="not a result, or one that was interrupted"):
            read_result(out)
    small = make_result(SPECS[:1], images=1)
    write_report(small, out, overwrite=True)
    write_report(small, tmp_path / "fresh")
    if step >= 7:  # else the manifest that lists the tables was not yet there
        assert contents(out) == contents(tmp_path / "fresh")


def test_a_page_never_stands_beside_figures_of_another_time(tmp_path, monkeypatch):
    quick(monkeypatch)
    result = make_result(SPECS[:1])
    write_report(result, tmp_path)
    monkeypatch.setattr(os, "fsync", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_report(result, tmp_path, overwrite=True)
    left = set(contents(tmp_path))
    assert left == {*(f"{name}.csv" for name in result), "manifest.json", "per_image.npz"}


def test_without_the_table_of_any_claim_none_is_told(tmp_path, monkeypatch):
    quick(monkeypatch)
    whole = make_result(SPECS[:2])
    some = replace(whole, tables={"head_kl": whole["head_kl"]})
    page = write_report(some, tmp_path / "some").read_text()
    assert "MIM layers resemble each other: the table cka was not measured." in page
    assert (tmp_path / "some" / "claims.csv").is_file()
    none = replace(whole, tables={"prefix_mass": whole["prefix_mass"]})
    assert "Claims of Xie" not in (page := write_report(none, tmp_path / "none").read_text())
    assert "claims.csv" not in page
    assert "differences.csv" not in page
    assert not list((tmp_path / "none").glob("[cd]*.csv"))
