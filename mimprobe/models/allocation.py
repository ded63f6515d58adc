"""How the C library hands out memory while networks run on a CPU.

What belongs here: keeping pages for the next layer. What does not: how much memory is taken.

A layer's map of attention takes tens of megabytes, is freed, and the next layer asks for as much.
The C library of Linux gives such memory back to the system in between and gets it anew, page by
page: for ViT-B/16 at batch 8 that is a quarter of a million page faults a pass, a tenth of its
time. While pages are kept, a pass takes none.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of parameters in malloc.h: when freed memory goes back, and what is mapped by itself."""

_ADAPTED = 32 * 2**20
"""Bytes; the most that glibc itself raises the threshold of mapping to, once it has seen such."""

_ALL = 2**31 - 1
"""Bytes; the largest number that mallopt takes."""

_lock = threading.Lock()
_holders = 0


@contextmanager
def kept_pages(device: torch.device) -> Iterator[None]:
    """Keep freed memory in the process for the time of the context; give it back after the last.

    It takes a CPU and glibc; anywhere else nothing happens. The thresholds that stay are those that
    glibc would have come to by itself.
    """
    global _holders
    library = _glibc() if device.type == "cpu" else None
    if library is None:
        yield
        return
    with _lock:
        _holders += 1
        library.mallopt(_MMAP_THRESHOLD, _ADAPTED)
        library.mallopt(_TRIM_THRESHOLD, _ALL)
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                library.mallopt(_TRIM_THRESHOLD, 2 * _ADAPTED)
                library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Find the C library, if it is the one that has these parameters."""
    try:
        library = ctypes.CDLL(None)
        _ = library.mallopt, library.malloc_trim, library.gnu_get_libc_version
    except (OSError, TypeError, AttributeError):  # musl, macOS, Windows
        return None
    return library
