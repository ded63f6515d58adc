"""What a process has measured so far: it can be stored, taken up again, and merged.

What belongs here: all that an interrupted run must know to go on, and that processes tell each
other. What does not: the file (`progress_file`) and the exchange (`processes`).
"""

import copy
import warnings
from collections.abc import Mapping, Sequence

from mimprobe.analyzers import Analyzer
from mimprobe.analyzers.analyzer import Measured
from mimprobe.data.images import ImageSet
from mimprobe.models.sites import Layout
from mimprobe.stream import State

RESUMED = "The run was interrupted and resumed."


class Tally:
    """The memories of the analyzers, and what happened on the way.

    Attributes:
        batches: done of this process's batches.
        seconds: that measuring took, interruptions left out.
        seconds_waiting: of those, for images to be decoded and prepared.
        pass_size: the most images of a pass by now.
        notes: what a reader of the result should know.
    """

    def __init__(
        self,
        tools: Sequence[Analyzer],
        places: Mapping[str, Layout],
        images: ImageSet,
        pass_size: int,
        notes: Sequence[str] = (),
    ) -> None:
        """Let every analyzer begin anew."""
        self.tools, self.places, self.images = tools, places, images
        self.batches, self.seconds, self.seconds_waiting = 0, 0.0, 0.0
        self.pass_size = pass_size
        self.notes = list(notes)
        for tool in tools:
            tool.begin(places, len(images))

    def add(
        self, numbers: Sequence[int], found: Mapping[str, Mapping[str, Mapping[str, Measured]]]
    ) -> None:
        """Remember what every model showed of some images, by model, analyzer and site."""
        for tool in self.tools:
            tool.add(numbers, {name: seen.get(tool.name, {}) for name, seen in found.items()})

    def note(self, text: str) -> None:
        """Note something once, and say it."""
        if text not in self.notes:
            self.notes.append(text)
            warnings.warn(text, stacklevel=2)

    def state(self) -> State:
        """Give everything, as `stream.State`."""
        return {
            "tools": {tool.name: tool.state() for tool in self.tools},
            "skipped": dict(self.images.skipped),
            "batches": self.batches,
            "seconds": self.seconds,
            "seconds_waiting": self.seconds_waiting,
            "pass_size": self.pass_size,
            "notes": list(self.notes),
        }

    def restore(self, state: State) -> None:
        """Take over the state of an equal run, in the place of what is here."""
        for tool in self.tools:
            tool.restore(state["tools"][tool.name])
        self.images.skipped.clear()
        self.images.skipped.update(state["skipped"])
        self.batches, self.seconds = state["batches"], state["seconds"]
        self.seconds_waiting, self.pass_size = state["seconds_waiting"], state["pass_size"]
        self.notes = list(dict.fromkeys([*state["notes"], RESUMED]))

    def merge(self, state: State) -> None:
        """Add what another process measured of other images; times are the longest."""
        for tool in self.tools:
            other = copy.copy(tool)
            other.begin(self.places, len(self.images))
            other.restore(state["tools"][tool.name])
            tool.merge(other)
        self.images.skipped.update(state["skipped"])
        self.batches += state["batches"]
        self.seconds = max(self.seconds, state["seconds"])
        self.seconds_waiting = max(self.seconds_waiting, state["seconds_waiting"])
        self.pass_size = min(self.pass_size, state["pass_size"])
        for text in state["notes"]:
            self.note(text)
