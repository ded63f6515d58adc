"""Every exception that mimprobe raises on purpose.

    MimprobeError            anything below; the command line prints it in one line, exit code 2
    ├── UnknownNameError     a name that is not known; says the nearest one that is
    ├── ImageError           an image folder or file that cannot be used
    ├── CheckpointError      a weights file that cannot be loaded, or not loaded whole
    ├── CardError            a checkpoint card with missing or contradictory entries
    ├── SiteError            a place in a model that does not exist or cannot be observed
    │   └── SilentSiteError  a place that exists but saw nothing during the pass
    ├── NonFiniteError       NaN or infinity where a number was expected
    ├── DeviceMemoryError    a device too small for a single image
    ├── ElsewhereError       another process of the same run failed, and says why
    ├── StoppedError         a training run that was asked to stop, and is saved
    ├── OutputError          a result that would overwrite another, or cannot be read back
    └── OptionError          an argument outside its range
        └── NothingVisibleError  a mask that hides the whole image

The message says what was asked, what was found, the nearest valid thing and what to do. Code deep
inside states the local fact; the outermost call adds what the user typed.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class MimprobeError(Exception):
    """Anything that mimprobe can explain to its user."""


class UnknownNameError(MimprobeError):
    """A name that is not among the known ones."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        """Say what was asked for, the nearest known name, and all of them if they are few."""
        choices = sorted(set(known))
        near = get_close_matches(name, choices, n=1, cutoff=0.5)
        message = f"unknown {what} {name!r}"
        if near:
            message += f"; did you mean {near[0]!r}?"
        if len(choices) <= 16 or not near:
            shown = ", ".join(choices[:16]) + (", ..." if len(choices) > 16 else "")
            message += f" (known: {shown or 'none'})"
        super().__init__(message + (f"; {hint}" if hint else ""))
        self.nearest = near[0] if near else None


class ImageError(MimprobeError):
    """An image folder or file that cannot be used."""


class CheckpointError(MimprobeError):
    """A weights file that cannot be loaded, or not loaded whole."""


class CardError(MimprobeError):
    """A checkpoint card with missing or contradictory entries."""


class SiteError(MimprobeError):
    """A place in a model that does not exist or cannot be observed."""


class SilentSiteError(SiteError):
    """A place that exists but saw nothing during the pass."""


class NonFiniteError(MimprobeError):
    """NaN or infinity where a number was expected; `row` is the image's place in its batch."""

    def __init__(self, message: str, row: int | None = None) -> None:
        """State what is not finite, and in which row of the batch."""
        super().__init__(message)
        self.row = row


class DeviceMemoryError(MimprobeError):
    """A device that is too small for a single image."""


class ElsewhereError(MimprobeError):
    """Another process of the same run failed; `status` is the exit status that it leaves with."""

    def __init__(self, message: str, status: int) -> None:
        """State what is known of the failure."""
        super().__init__(message)
        self.status = status


class StoppedError(MimprobeError):
    """A training run that was asked to stop, and is saved; `status` is what a shell expects."""

    status = 143


class OutputError(MimprobeError):
    """A result that would overwrite another one, or that cannot be read back."""


class OptionError(MimprobeError):
    """An argument outside its range."""


class NothingVisibleError(OptionError):
    """A mask that hides the whole image: nothing could be told from what is visible."""
