"""What a path leads to, and what a file is by its first bytes, when it holds no weights.

What belongs here: everything that can be told before a weights file is read. What does not: what is
wrong inside a file that looks like one (`containers`).
"""

import errno
import html
import os
import re
import stat
import struct
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from mimprobe.errors import CheckpointError

HEAD = 4096
"""Bytes at the beginning of a file that tell what it is."""

LISTED = 2000
"""Files of a folder among which the nearest name is looked for."""

LFS = b"version https://git-lfs.github.com/spec/"

UNPACK = "unpack it and name the weights file inside"
HDF5 = "is an HDF5 file, as Keras writes them; mimprobe reads PyTorch's .pth and .safetensors"

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", f"is compressed with gzip (a .tar.gz?); {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7-Zip archive; {UNPACK}"),
    (b"Rar!\x1a\x07", f"is a RAR archive; {UNPACK}"),
    (b"\xfd7zXZ\x00", f"is compressed with xz; {UNPACK}"),
    (b"BZh", f"is compressed with bzip2; {UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"is compressed with Zstandard; {UNPACK}"),
    (b"PK\x05\x06", "is an empty zip archive; download it again"),
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"\x93NUMPY", "is one NumPy array (.npy), not tensors by name; save a state dict"),
    (b"GGUF", "is a GGUF file; mimprobe reads PyTorch's .pth and .safetensors"),
    (b"\x89PNG", "is a PNG image, not weights"),
    (b"\xff\xd8\xff", "is a JPEG image, not weights"),
)
"""What other files begin with."""

CONVERT = "convert it to a PyTorch state dict with its own tools first"
TENSORFLOW_INDEX = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # LevelDB's mark at the end of a table


def require_file(path: Path) -> os.stat_result:
    """Make sure that a path leads to a file with something in it.

    Raises:
        CheckpointError: it does not, or it cannot be found out.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise CheckpointError(_absence(path)) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(reason(error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise CheckpointError("is a folder, not a file; name the weights file in it")
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"is {_special(found.st_mode)}, not a file; name a weights file")
    if found.st_size == 0:
        raise CheckpointError("is empty (0 bytes); download it again")
    return found


def reason(error: OSError | ValueError) -> str:
    """Say why the system does not give a file."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ELOOP:
        return "is a link that leads back to itself; name the file itself"
    if code == errno.ENOTDIR:
        return "does not exist, because a part of its path is a file; check the path"
    if code in (errno.EACCES, errno.EPERM):
        return "may not be read by you (permission denied); ask its owner, or chmod u+r it"
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"cannot be read ({why}); check the path"


def _absence(path: Path) -> str:
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which does not exist; name the file itself"
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, LISTED)]
    except OSError:
        return f"does not exist, nor does its folder {path.parent}; check the path"
    near = get_close_matches(path.name, names, n=1, cutoff=0.6)
    return "does not exist; " + (f"did you mean {near[0]!r}?" if near else "check the path")


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe (FIFO)"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


def require_weights(path: Path, head: bytes, tail: bytes) -> None:
    """Refuse what is recognisably something else.

    Args:
        path: its name tells a part of a TensorFlow checkpoint, which has no mark.
        head: the first `HEAD` bytes, or all there are.
        tail: the last 8.

    Raises:
        CheckpointError: it is something else; says what it seems to be.
    """
    told = _text(head) or _by_signature(head) or _by_structure(path, head, tail)
    if told:
        raise CheckpointError(told)


def unknown(head: bytes) -> CheckpointError:
    """Say that nothing is known that begins so."""
    return CheckpointError(
        f"begins with the bytes {head[:8].hex(' ')}, as neither a PyTorch nor a safetensors file "
        "does; it may be damaged, so download it again"
    )


def _by_signature(head: bytes) -> str | None:
    return next((told for mark, told in SIGNATURES if head.startswith(mark)), None)


def _by_structure(path: Path, head: bytes, tail: bytes) -> str | None:
    if head[257:262] == b"ustar":
        return f"is a tar archive; {UNPACK}"
    if head[4:8] == b"TFL3":
        return f"is a TensorFlow Lite model; {CONVERT}"
    if tail == TENSORFLOW_INDEX or re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
        return f"is a part of a TensorFlow checkpoint; {CONVERT}"
    if re.match(rb"\x08[\x01-\x1f]\x12[\x01-\x20][a-z]{2}", head):
        return f"seems to be an ONNX model; {CONVERT}"
    if head.startswith(b"\x08\x01\x12"):
        return f"seems to be a TensorFlow SavedModel; {CONVERT}"
    return None


def _text(head: bytes) -> str | None:
    """Tell what a text is; None where it is none."""
    if head.startswith(LFS):
        size = re.search(rb"size (\d{1,20})", head)
        told = f" for a file of {int(size[1]):,} bytes" if size else ""
        return f"is a Git LFS pointer{told}, not the file itself; run 'git lfs pull'"
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) < HEAD or error.start < HEAD - 3:
            return None  # else the cut went through a character
        text = head[: error.start].decode("utf-8-sig")
    if not all(character.isprintable() or character.isspace() for character in text):
        return None
    begin = text.lstrip()[:200].lower()
    if begin.startswith("<!doctype html") or "<html" in begin:
        return f"is an HTML page ({_page(text)}), not weights; check the address it came from"
    what = "JSON" if begin.startswith(("{", "[")) else "XML" if begin[:5] == "<?xml" else "text"
    words = " ".join(text.split())[:60]
    return f"is {what}, not weights (it begins {words!r}); download it again, or check the path"


def _page(text: str) -> str:
    """Give a page's title, else its first words."""
    title = re.search(r"<title[^>]*>([^<]{1,200})", text, re.IGNORECASE)
    words = title[1] if title else re.sub(r"<[^>]*>|<[^>]*$", " ", text)
    return repr(" ".join(html.unescape(words).split())[:60]) if words.strip() else "without a title"


def is_safetensors(head: bytes, size: int) -> bool:
    """Tell whether a file is laid out as safetensors: a length within it, then a JSON object."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    length: int = struct.unpack("<Q", head[:8])[0]
    return length <= size
