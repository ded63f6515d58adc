"""Experiments of several long steps, each of which is saved when it is done.

What belongs here: taking up the steps of a run that was interrupted. What does not: what a step
measures, and the file (`loop.saved_file`).
"""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError
from mimprobe.loop.saved_file import SavedFile, described_set, same_run
from mimprobe.loop.tally import RESUMED
from mimprobe.stream import State
from mimprobe.tables import PROGRESS_FOLDER, remove_progress
from mimprobe.zoo.loaded import LoadedModel

Saved = list[Any]
"""What a step found, of numbers, words, tensors, and lists and mappings of them."""


class SavedSteps:
    """The steps of a run, which are made once each, in this run or in the one that it goes on from.

    Without a folder nothing is saved. Images that a step skipped count as skipped when it is taken
    up; `seconds` is the time that all steps took, interruptions left out.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        models: Sequence[LoadedModel],
        images: Mapping[str, ImageSet],
        circumstances: Mapping[str, object],
        *,
        resume: bool,
    ) -> None:
        """Begin in a folder, anew or where a run with the same numbers was interrupted.

        Args:
            folder: of the result; None to save nothing.
            models: in their order.
            images: the sets shown, by what they are for; the last one is judged on.
            circumstances: whatever else numbers depend on.
            resume: take up what is there.

        Raises:
            OptionError: there is no folder to resume from.
            OutputError: what is saved is damaged, or of another run.
        """
        self.folder, self.seconds = folder, 0.0
        self._earlier: dict[str, State] = {}
        self._sets = list(images.values())
        others = {name: described_set(own) for name, own in images.items()}
        self._same = same_run(models, self._sets[-1], [], {**circumstances, **others})
        if folder is None:
            if resume:
                raise OptionError("resume=True needs progress_in, the folder to resume from")
        elif not resume:
            remove_progress(folder)
        else:
            self._take_up(Path(folder))

    def step(self, name: str, work: Callable[[], Saved]) -> Saved:
        """Make a step and save what it found, or give what an earlier run saved.

        Args:
            name: of the file; other steps of the run have others.
            work: makes it.
        """
        state = self._earlier.get(name)
        if state is None:
            started = time.monotonic()
            state = {
                "found": work(), "seconds": time.monotonic() - started,
                "skipped": [dict(images.skipped) for images in self._sets],
            }  # fmt: skip
            if self.folder is not None:
                self._file(Path(self.folder) / PROGRESS_FOLDER / f"{name}.pt").save(state)
        for images, skipped in zip(self._sets, state["skipped"], strict=True):
            images.skipped.update(skipped)
        self.seconds += state["seconds"]
        return list(state["found"])

    def _take_up(self, folder: Path) -> None:
        """Read what is saved; all of it must be of this run."""
        for path in sorted((folder / PROGRESS_FOLDER).glob("*.pt")):
            state = self._file(path).load()
            if state is not None:
                self._earlier[path.stem] = state
        saved = len(self._earlier)
        told = f"going on after {saved} step{'' if saved == 1 else 's'} of the run"
        begun = f"no progress in {folder}: starting from the beginning"
        warnings.warn(told if saved else begun, stacklevel=4)

    def _file(self, path: Path) -> SavedFile:
        return SavedFile(path, self._same)

    @property
    def notes(self) -> list[str]:
        """What a manifest tells of this."""
        return [RESUMED] if self._earlier else []
