"""A file in which an unfinished run keeps a state, for the same run to go on from.

What belongs here: saving all or nothing, what makes two runs the same, and what is wrong with a
file. What does not: the folder around it (`tables.folder`), when to save, and what a state holds.
"""

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mimprobe import __version__
from mimprobe.analyzers import Analyzer
from mimprobe.data.images import ImageSet
from mimprobe.errors import OutputError
from mimprobe.stream import State
from mimprobe.tables import write_atomically
from mimprobe.zoo.loaded import LoadedModel

FORMAT = 2

DAMAGE = (
    OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading a file of PyTorch raises where bytes are missing or wrong."""


class SavedFile:
    """A state, and the run that it is of."""

    def __init__(self, path: Path, same: Mapping[str, str]) -> None:
        """Name the file of a run that is known by `same`."""
        self.path, self.same = path, dict(same)

    def save(self, state: State) -> None:
        """Save: all or nothing, whatever interrupts it."""
        content = {"format": FORMAT, "same": self.same, "state": dict(state)}
        write_atomically(self.path, lambda file: torch.save(content, file))

    def load(self) -> State | None:
        """Read the state, or None if there is none; clear away half-written files.

        Raises:
            OutputError: the file is damaged, or of another run.
        """
        for torn in self.path.parent.glob(f".{self.path.name}.*"):
            torn.unlink()
        if not self.path.exists():
            return None
        try:
            content = _read(self.path)
        except DAMAGE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OutputError(
                f"the progress in {self.path} is damaged ({reason}); pass --overwrite instead of "
                "--resume to start anew"
            ) from error
        self.require_same(content["same"])
        return dict(content["state"])

    def require_same(self, then: Mapping[str, str]) -> None:
        """Refuse to go on with what another run left.

        Raises:
            OutputError: it is of another run; says in what they differ.
        """
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
        "images": described_set(images),
        "models": ", ".join(model.name for model in lineup),
        "analyzers": ", ".join(tool.name for tool in tools),
        **{f"model {model.name!r}": f"sha256 {model.sha256}" for model in lineup},
        **{f"preprocessing of {model.name!r}": _preprocessing(model) for model in lineup},
        **{f"settings of {tool.name}": json.dumps(tool.describe()) for tool in tools},
    }


def described_set(images: ImageSet) -> str:
    """Tell one image set from others."""
    return f"{len(images)} with sha256 {images.sha256}"


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
