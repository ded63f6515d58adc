"""Images of a data set of Hugging Face, through timm's reader.

What belongs here: rows of a data set as images. What does not: decoding (`decoding`). The package
`datasets` is an extra of the installation, and imported when a data set is opened.
"""

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from mimprobe.data.decoding import decode_bytes
from mimprobe.errors import ImageError

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "picture", "pixel_values")
"""Usual names of the column of images, besides the only one of that type."""

LABEL_COLUMN = "label"

SAVED = ("dataset_dict.json", "dataset_info.json")
"""Files by which a folder is known that `save_to_disk` wrote, which timm's reader does not read."""


@dataclass(frozen=True, eq=False, repr=False)
class DatasetImages:
    """Rows of a data set whose images are not decoded by it.

    Attributes:
        title: what it is, for people.
        dataset: the rows.
        column: the one of images.
        split: the name of the part that is used.
        rows: which of its rows are used.
    """

    title: str
    dataset: Any
    column: str
    split: str
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The number of each row: paths within a data set need not be there, nor differ."""
        return tuple(f"{self.split}/{row:06d}" for row in self.rows)

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The class of each row by its name, where the data set has a column of labels.

        None too where a row has no label: parts for testing hide them, as -1 or as nothing.
        """
        feature = self.dataset.features.get(LABEL_COLUMN)
        if feature is None:
            return None
        numbers = self.dataset[LABEL_COLUMN]
        names = getattr(feature, "names", None)
        if any(numbers[row] is None or (names and numbers[row] < 0) for row in self.rows):
            return None
        return tuple(str(names[numbers[row]] if names else numbers[row]) for row in self.rows)

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """The size of each image, read without the images; of those in other files, the path."""
        import pyarrow.compute as arrow

        images = self.dataset.with_format("arrow")[:][self.column]
        sizes = arrow.binary_length(arrow.struct_field(images, "bytes")).to_pylist()
        paths = arrow.struct_field(images, "path").to_pylist()
        return tuple(
            str(paths[row]) if sizes[row] is None else f"{sizes[row]} bytes" for row in self.rows
        )

    def load(self, number: int) -> Image.Image:
        """Decode row `number` of those that are used."""
        return decode_bytes(self._bytes(self.rows[number]), f"{self.title}: {self.ids[number]}")

    def take(self, numbers: Sequence[int]) -> "DatasetImages":
        """Use only these rows."""
        return replace(self, rows=[self.rows[number] for number in numbers])

    def _bytes(self, row: int) -> bytes:
        image = self.dataset[row][self.column] or {}
        if image.get("bytes"):
            return bytes(image["bytes"])
        path = image.get("path")
        return Path(path).read_bytes() if path and Path(path).is_file() else b""


def dataset_images(name: str) -> DatasetImages:
    """Open `NAME` or `NAME:SPLIT`; the split is `train` where none is named.

    Raises:
        ImageError: `datasets` is not installed, there is no such data set or split, or it has no
            column of images.
    """
    name, _, split = name.partition(":")
    split = split or "train"
    try:
        with redirect_stdout(None):  # timm prints what the error below says
            import datasets
            from timm.data.readers.reader_factory import create_reader
    except ImportError as error:
        raise ImageError(
            f"hfds:{name} needs the package datasets; pip install 'mimprobe[datasets]'"
        ) from error
    title = f"hfds:{name}:{split}"
    datasets.disable_progress_bars()
    try:
        if any((Path(name) / file).is_file() for file in SAVED):
            saved = datasets.load_from_disk(name)
            found = saved[split] if isinstance(saved, datasets.DatasetDict) else saved
            column = _image_column(title, found.features, datasets.Image)
            dataset = found.cast_column(column, datasets.Image(decode=False))
        else:
            found = datasets.load_dataset(name, split=split)
            column = _image_column(title, found.features, datasets.Image)
            dataset = create_reader(f"hfds/{name}", split=split, input_key=column).dataset
    except ImageError:
        raise
    except Exception as error:  # what a hub, a script or a file can raise is without end
        told = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{title} cannot be opened: {told}") from error
    if not len(dataset):
        raise ImageError(f"{title} has no rows")
    return DatasetImages(title, dataset, column, split, range(len(dataset)))


def _image_column(title: str, features: Any, image: type) -> str:
    """Choose the column of images."""
    columns = [name for name, feature in features.items() if isinstance(feature, image)]
    named = [name for name in IMAGE_COLUMNS if name in columns]
    if not columns or (len(columns) > 1 and not named):
        raise ImageError(
            f"{title} has {len(columns)} columns of images among {', '.join(features)}; "
            "mimprobe needs one, or one that is called image"
        )
    return columns[0] if len(columns) == 1 else named[0]
