"""What `probe` returns, and its files.

A result on disk is one folder:

    manifest.json      what was measured, on what, with what; written last, so that its presence
                       means the folder is whole
    <analyzer>.csv     one tidy table for each analyzer
    per_image.npz      the values of every image (float32), for paired differences and bootstraps
"""

import html
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from mimprobe.errors import OutputError, UnknownNameError
from mimprobe.tables.folder import (
    MANIFEST_NAME,
    files_of,
    prepare_output,
    write_atomically,
    write_text,
)
from mimprobe.tables.schema import PER_IMAGE_KEYS, STEP, TEXT_COLUMNS, PerImageValues

FORMAT = 1
"""Version of the files below; raised when a reader of the old ones would go wrong."""

PER_IMAGE_NAME = "per_image.npz"

DAMAGE = (
    OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What reading JSON, CSV and ZIP raises where bytes are missing or wrong."""


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

    def get(self, name: str, default: Any = None) -> Any:
        """Give a table, or `default` where there is none of that name."""
        return self.tables.get(name, default)

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
        self._write_files(target, [])
        return target

    def rewrite(self, directory: str | os.PathLike[str], *, beside: Sequence[str] = ()) -> Path:
        """Write the result over an earlier state of the same one, one whole file after the other.

        Nothing is removed first: whenever this is interrupted, every file is whole, of this state
        or of the earlier one.

        Args:
            directory: the folder; made if it is not there.
            beside: files in it that belong to the result, for whoever replaces it later.
        """
        target = Path(directory)
        earlier = files_of(target) if (target / MANIFEST_NAME).is_file() else []
        kept = [name for name in earlier if (target / name).is_file()]
        self._write_files(target, [*kept, *beside])
        return target

    def _write_files(self, target: Path, beside: Sequence[str]) -> None:
        """Write tables and per-image values, and the manifest last."""
        names = []
        for name, table in self.tables.items():
            names.append(f"{name}.csv")
            write_text(target / names[-1], table.to_csv(index=False))
        names.append(PER_IMAGE_NAME)
        write_atomically(
            target / PER_IMAGE_NAME, lambda file: _save_per_image(file, self.per_image)
        )
        files = list(dict.fromkeys([*names, *beside]))
        manifest = {**self.manifest, "format": FORMAT, "tables": list(self.tables), "files": files}
        write_text(target / MANIFEST_NAME, json.dumps(manifest, indent=2, allow_nan=False) + "\n")

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
        files_of(source)
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OutputError(
            f"the result in {source} is damaged ({reason}); run 'mimprobe probe' again"
        ) from error
    return Result(tables, manifest, per_image)


def holds_result(directory: str | os.PathLike[str], result: Result) -> bool:
    """Say whether the folder holds this very result, by its manifest."""
    try:
        found = json.loads((Path(directory) / MANIFEST_NAME).read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(dict(result.manifest)))
    except (OSError, ValueError):
        return False
    if not isinstance(found, dict):
        return False
    of_the_files = ("format", "tables", "files")
    for manifest in (found, wanted):
        for key in of_the_files:
            manifest.pop(key, None)
    return bool(found == wanted)


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table with the types that it was written with."""
    types = {
        **dict.fromkeys(TEXT_COLUMNS, "str"),
        **dict.fromkeys((STEP, "layer", "other_layer", "n"), "int64"),
        **dict.fromkeys(("row_offset", "column_offset"), "int64"),
        **dict.fromkeys(("head", "other_head"), "Int64"),
    }
    header = pd.read_csv(path, nrows=0).columns
    if "test" in header:
        types |= dict.fromkeys(("layer", "other_layer", "seed"), "Int64")
    present = {name: kind for name, kind in types.items() if name in header}
    table = pd.read_csv(path, dtype=present, keep_default_na=False, na_values=[""])
    text = [name for name in TEXT_COLUMNS if name in table]
    table[text] = table[text].fillna("")
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
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        columns = pd.DataFrame({key: arrays[key] for key in PER_IMAGE_KEYS})
        return PerImageValues(tuple(arrays["image"].tolist()), columns, arrays["values"])
