"""The border between measuring and drawing: tidy tables, their manifest, reading and writing.

What belongs here: column names, the `Result` that `probe` returns, its files. What does not:
tensors (no torch, not even indirectly), drawing, and deciding which numbers are computed.

A result on disk is one folder:

    manifest.json      what was measured, on what, with what; written last, so that its presence
                       means the folder is whole
    <analyzer>.csv     one tidy table for each analyzer
    per_image.npz      the values of every image (float32), for paired differences and bootstraps
"""

import html
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from mimprobe.errors import OutputError, UnknownNameError

FORMAT = 1
"""Version of the files below; raised when a reader of the old ones would go wrong."""

KINDS = ("supervised", "distilled", "contrastive", "mim", "untrained", "other")
"""Kinds of training, in the order in which legends list them."""

HEAD_COLUMNS = (
    "model",
    "kind",
    "site",
    "layer",
    "head",
    "metric",
    "unit",
    "value",
    "std",
    "se",
    "n",
)
"""A per-image metric: one row for each model, layer, head and metric.

`head` is empty in the rows that hold the mean over a layer's heads. `value` is the mean over
images, `std` the standard deviation over images, `se` its standard error, `n` the images that have
a value. `layer` counts from 0 in execution order.
"""

PAIR_COLUMNS = (
    "model", "kind", "site", "layer", "other_model", "other_kind", "other_site", "other_layer",
    "metric", "unit", "value", "std", "se", "n", "note",
)  # fmt: skip
"""A set-level metric between two layers: `std` is empty, `se` is a jackknife over image groups.

Both orders of a pair are present, so that a heat map is one pivot. `note` says why `se` is empty.
"""

TEXT_COLUMNS = (
    "model", "kind", "site", "other_model", "other_kind", "other_site", "metric", "unit", "note",
)  # fmt: skip
"""Columns that stay text when read back, even where a model is called `1` or `nan`."""

PER_IMAGE_KEYS = ("model", "site", "layer", "head", "metric")
"""What identifies a column of `PerImageValues`; a layer mean has head -1."""

MANIFEST_NAME = "manifest.json"
PER_IMAGE_NAME = "per_image.npz"


@dataclass(frozen=True)
class PerImageValues:
    """The value of every image: `values[i, c]` belongs to `images[i]` and row c of `columns`."""

    images: tuple[str, ...]
    columns: pd.DataFrame
    values: npt.NDArray[np.float32]

    def select(self, **where: object) -> "PerImageValues":
        """Keep the columns whose keys equal those given, such as `metric="head_kl"`."""
        for key in where:
            if key not in PER_IMAGE_KEYS:
                raise UnknownNameError("per-image key", key, PER_IMAGE_KEYS)
        keep = np.ones(len(self.columns), dtype=bool)
        for key, wanted in where.items():
            keep &= (self.columns[key] == wanted).to_numpy()
        columns = self.columns[keep].reset_index(drop=True)
        return PerImageValues(self.images, columns, self.values[:, keep])


def join_per_image(parts: Sequence[PerImageValues]) -> PerImageValues:
    """Put the columns of several analyzers, measured on the same images, beside each other.

    Raises:
        OutputError: they are not of the same images.
    """
    filled = [part for part in parts if len(part.columns)]
    if not filled:
        empty = pd.DataFrame(columns=list(PER_IMAGE_KEYS))
        return PerImageValues((), empty, np.empty((0, 0), dtype=np.float32))
    if any(part.images != filled[0].images for part in filled):
        raise OutputError("per-image values of different images cannot be joined")
    columns = pd.concat([part.columns for part in filled], ignore_index=True)
    return PerImageValues(
        filled[0].images, columns, np.concatenate([part.values for part in filled], axis=1)
    )


@dataclass(frozen=True)
class Result(Mapping[str, pd.DataFrame]):
    """Tables by analyzer name, with the manifest and the per-image values behind them."""

    tables: Mapping[str, pd.DataFrame]
    manifest: Mapping[str, Any]
    per_image: PerImageValues = field(repr=False)

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self.tables:
            raise UnknownNameError("table", name, self.tables)
        return self.tables[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tables

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def write(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write every file of the result into `directory` and return it.

        Raises:
            OutputError: the folder already holds files and `overwrite` is not set.
        """
        target = prepare_output(directory, overwrite=overwrite)
        names = []
        for name, table in self.tables.items():
            names.append(f"{name}.csv")
            write_text(target / names[-1], table.to_csv(index=False))
        names.append(PER_IMAGE_NAME)
        write_atomically(
            target / PER_IMAGE_NAME, lambda file: _save_per_image(file, self.per_image)
        )
        manifest = {**self.manifest, "format": FORMAT, "tables": list(self.tables), "files": names}
        write_text(target / MANIFEST_NAME, json.dumps(manifest, indent=2, allow_nan=False) + "\n")
        return target

    def _repr_html_(self) -> str:
        """Show in a notebook what was measured and the first rows of each table."""
        models = ", ".join(str(model["name"]) for model in self.manifest.get("models", []))
        images = self.manifest.get("images", {}).get("n", len(self.per_image.images))
        parts = [
            f"<p><b>mimprobe result</b>: {len(self.tables)} tables; models "
            f"{html.escape(models)}; {images} images</p>"
        ]
        for name, table in self.tables.items():
            parts.append(
                f"<details><summary><code>{html.escape(name)}</code>: {len(table):,} rows"
                f"</summary>{table.head(8).to_html(index=False, border=0)}</details>"
            )
        return "".join(parts)


def read_result(directory: str | os.PathLike[str]) -> Result:
    """Read back what `Result.write` wrote.

    Raises:
        OutputError: the folder holds no result, an unfinished one, or one of a newer format.
    """
    source = Path(directory)
    manifest_path = source / MANIFEST_NAME
    if not source.is_dir():
        raise OutputError(f"no result folder at {source}; make one with 'mimprobe probe'")
    if not manifest_path.is_file():
        raise OutputError(
            f"{source} holds no {MANIFEST_NAME}: not a result, or one that was interrupted; "
            "run 'mimprobe probe' again"
        )
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        found = manifest["format"]
        if found > FORMAT:
            raise OutputError(
                f"{source} was written in format {found}, this version reads up to {FORMAT}; "
                "update mimprobe"
            )
        tables = {name: _read_table(source / f"{name}.csv") for name in manifest["tables"]}
        per_image = _load_per_image(source / PER_IMAGE_NAME)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"the result in {source} is damaged ({error}); run 'mimprobe probe' again"
        ) from error
    return Result(tables, manifest, per_image)


def prepare_output(directory: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Make the folder, or clear it of an earlier result if that is allowed.

    Only files named in the earlier manifest are removed; anything else of the user's stays.

    Raises:
        OutputError: the folder holds files and `overwrite` is not set, or is not a folder.
    """
    target = Path(directory)
    check_output(target, overwrite=overwrite)
    target.mkdir(parents=True, exist_ok=True)
    manifest_path = target / MANIFEST_NAME
    if manifest_path.is_file():
        try:
            earlier = [str(name) for name in json.loads(manifest_path.read_text())["files"]]
        except (ValueError, KeyError, TypeError):
            earlier = []
        manifest_path.unlink()
        for name in earlier:
            path = target / name
            if path.resolve().is_relative_to(target.resolve()) and path.is_file():
                path.unlink()
    return target


def holds_result(directory: str | os.PathLike[str], result: Result) -> bool:
    """Say whether the folder holds this very result, by its manifest."""
    try:
        found = json.loads((Path(directory) / MANIFEST_NAME).read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(dict(result.manifest)))
    except (OSError, ValueError):
        return False
    of_the_files = ("format", "tables", "files")
    for manifest in (found, wanted):
        for key in of_the_files:
            manifest.pop(key, None)
    return bool(found == wanted)


def files_of(directory: str | os.PathLike[str]) -> list[str]:
    """List the files of a result, as its manifest names them."""
    manifest = json.loads((Path(directory) / MANIFEST_NAME).read_text(encoding="utf-8"))
    return [str(name) for name in manifest["files"]]


def register_files(directory: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Note further files in a result's manifest: whoever replaces the result removes them too."""
    path = Path(directory) / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"] = list(dict.fromkeys([*manifest["files"], *names]))
    write_text(path, json.dumps(manifest, indent=2, allow_nan=False) + "\n")


def check_output(directory: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise OutputError now if writing to `directory` would be refused later."""
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; name a folder for the result")
    if target.is_dir() and not overwrite and any(target.iterdir()):
        what = "another result" if (target / MANIFEST_NAME).exists() else "other files"
        raise OutputError(
            f"{target} already holds {what}; pass --overwrite (overwrite=True) to replace it, or "
            "name another folder"
        )


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 under a temporary name, then rename it to `path`."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file beside `path`, then rename it: all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table with the types that it was written with."""
    integers = {"layer": "int64", "other_layer": "int64", "head": "Int64", "n": "int64"}
    types = {**dict.fromkeys(TEXT_COLUMNS, "str"), **integers}
    header = pd.read_csv(path, nrows=0).columns
    present = {name: kind for name, kind in types.items() if name in header}
    table = pd.read_csv(path, dtype=present, keep_default_na=False, na_values=[""])
    if "note" in table:
        table["note"] = table["note"].fillna("")
    return table


def _save_per_image(file: BinaryIO, per_image: PerImageValues) -> None:
    columns: dict[str, Any] = {
        key: per_image.columns[key].to_numpy(
            dtype=np.int64 if key in ("layer", "head") else np.str_
        )
        for key in PER_IMAGE_KEYS
    }
    np.savez_compressed(
        file,
        image=np.array(per_image.images, dtype=np.str_),
        values=per_image.values.astype(np.float32),
        **columns,
    )


def _load_per_image(path: Path) -> PerImageValues:
    with np.load(path, allow_pickle=False) as arrays:
        columns = pd.DataFrame({key: arrays[key] for key in PER_IMAGE_KEYS})
        return PerImageValues(tuple(arrays["image"].tolist()), columns, arrays["values"])
