"""Progress on disk: what an interrupted run measured, and whether a run may take it up again.

What belongs here: the file of one process, and what makes two runs the same. What does not: the
folder around it (`tables.folder`) and what is stored (`tally`).
"""

import json
import os
import pickle
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mimprobe import __version__
from mimprobe.analyzers import Analyzer
from mimprobe.data.images import ImageSet
from mimprobe.errors import OutputError
from mimprobe.loop.tally import Tally
from mimprobe.stream import State
from mimprobe.tables import PROGRESS_FOLDER, write_atomically
from mimprobe.zoo.loaded import LoadedModel

FORMAT = 1

SHARE = 20
"""Saving may take one part in so many of the time: large memories are saved less often."""

DAMAGE = (
    OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading a file of PyTorch raises where bytes are missing or wrong."""


class ProgressFile:
    """The progress of one process, saved in the result's folder now and then.

    Each process of several has a file of its own, whole in itself: it names the batches of its own
    share that are done, so that the files need not be of the same moment.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        same: Mapping[str, str],
        rank: int,
        size: int,
        *,
        every: float,
    ) -> None:
        """Prepare for a run that is known by `same`; saves are at least `every` seconds apart."""
        self.folder = Path(folder)
        self.path = self.folder / PROGRESS_FOLDER / f"{rank}-of-{size}.pt"
        self.same, self.every = dict(same), every
        self._last, self._cost = time.monotonic(), 0.0

    def save_if_due(self, tally: Tally) -> None:
        """Save if the last time is long enough ago; with `every` 0 it always is."""
        pause = max(self.every, SHARE * self._cost) if self.every else 0.0
        if time.monotonic() - self._last >= pause:
            self.save(tally)

    def save(self, tally: Tally) -> None:
        """Save: all or nothing, whatever interrupts it."""
        started = time.monotonic()
        content = {"format": FORMAT, "same": self.same, "tally": tally.state()}
        write_atomically(self.path, lambda file: torch.save(content, file))
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self) -> State | None:
        """Read what this process left, or None if it left nothing; clear away half-written files.

        Raises:
            OutputError: the file is damaged, or of another run.
        """
        for torn in self.path.parent.glob(f".{self.path.name}.*"):
            torn.unlink()
        if not self.path.exists():
            self._require_size()
            return None
        try:
            content = _read(self.path)
        except DAMAGE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OutputError(
                f"the progress in {self.path} is damaged ({reason}); pass --overwrite instead of "
                "--resume to start anew"
            ) from error
        self._require_same(content["same"])
        return dict(content["tally"])

    def _require_same(self, then: Mapping[str, str]) -> None:
        changed = [
            f"{key}{_change(then.get(key), self.same.get(key))}"
            for key in dict.fromkeys([*self.same, *then])
            if then.get(key) != self.same.get(key)
        ]
        if changed:
            raise OutputError(
                f"the progress in {self.path.parent} is of a run with other {', '.join(changed)}; "
                "repeat that run, or pass --overwrite instead of --resume to start anew"
            )

    def _require_size(self) -> None:
        """Other numbers of processes deal out the images in another way."""
        for other in self.path.parent.glob("*-of-*.pt"):
            size = other.stem.rpartition("-")[2]
            if size != self.path.stem.rpartition("-")[2]:
                self._require_same(self.same | {"processes": size})


def same_run(
    lineup: Sequence[LoadedModel],
    images: ImageSet,
    tools: Sequence[Analyzer],
    circumstances: Mapping[str, object],
) -> dict[str, str]:
    """Describe a run by all that its numbers depend on, in words for a message."""
    return {
        "mimprobe": __version__,
        **{name.replace("_", " "): str(value) for name, value in circumstances.items()},
        "images": f"{len(images)} with sha256 {images.sha256}",
        "models": ", ".join(model.name for model in lineup),
        "analyzers": ", ".join(tool.name for tool in tools),
        **{f"model {model.name!r}": f"sha256 {model.sha256}" for model in lineup},
        **{f"preprocessing of {model.name!r}": _preprocessing(model) for model in lineup},
        **{f"settings of {tool.name}": json.dumps(tool.describe()) for tool in tools},
    }


def _preprocessing(model: LoadedModel) -> str:
    own = model.preprocessing
    return "the user's own" if own is None else json.dumps(own.describe())


def _change(then: str | None, now: str | None) -> str:
    """Say what something was and is, where it is short enough to be compared by eye."""
    texts = ["none" if text is None else text for text in (then, now)]
    if any(text.startswith("{") for text in texts):
        return ""
    before, after = (text if len(text) <= 48 else f"{text[:45]}..." for text in texts)
    return f" ({before} then, {after} now)"


def _read(path: Path) -> dict[str, Any]:
    """Read a file without copying its tensors into memory; PyTorch itself checks no sums."""
    with zipfile.ZipFile(path) as file:
        wrong = file.testzip()
    if wrong is not None:
        raise ValueError(f"wrong checksum of {wrong}")
    content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
    return content
