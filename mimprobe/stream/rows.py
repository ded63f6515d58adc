"""Feature rows of all images, in memory up to a budget and on disk above it.

What belongs here: storage of rows. What does not: what they are for (`stream.features`).
"""

import io
import tempfile
import weakref
from typing import IO

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]


class FeatureRows:
    """Rows of one width in float32, appended and read back by position.

    Above the budget they move to a temporary file without a name, which the system removes when it
    is closed, when this object is collected, or when the process dies.
    """

    def __init__(self, width: int, budget_bytes: int) -> None:
        self.width = width
        self.budget_bytes = budget_bytes
        self._file: IO[bytes] = io.BytesIO()
        self._bytes = 0

    def __len__(self) -> int:
        return self._bytes // (4 * self.width)

    @property
    def on_disk(self) -> bool:
        """Tell whether the rows outgrew the budget."""
        return not isinstance(self._file, io.BytesIO)

    def append(self, rows: Rows) -> None:
        """Add rows after those already there."""
        if not self.on_disk and self._bytes + rows.nbytes > self.budget_bytes:
            self._move_to_disk()
        self._file.write(np.ascontiguousarray(rows).data)
        self._bytes += rows.nbytes

    def view(self) -> Rows:
        """Return all rows without copying them; not to be held on to while rows are appended."""
        shape = (len(self), self.width)
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getvalue(), np.float32).reshape(shape)
        self._file.flush()
        return np.memmap(self._file, np.float32, mode="r", shape=shape)

    def state(self) -> Rows:
        """Return all rows as an array that may be written to: a copy, unless they are on disk."""
        shape = (len(self), self.width)
        if not self.on_disk:
            return self.view().copy()
        self._file.flush()
        return np.memmap(self._file, np.float32, mode="c", shape=shape)

    def close(self) -> None:
        """Forget the rows and remove the file."""
        self._file.close()

    def _move_to_disk(self) -> None:
        file = tempfile.TemporaryFile(prefix="mimprobe-features-")  # noqa: SIM115 - closed below
        weakref.finalize(self, file.close)
        with self._file as memory:
            memory.seek(0)
            while part := memory.read(1 << 24):
                file.write(part)
        self._file = file
