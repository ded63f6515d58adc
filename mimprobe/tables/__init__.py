"""The border between measuring and drawing: tidy tables, their manifest, reading and writing.

What belongs here: column names, the `Result` that `probe` returns, its files. What does not:
tensors (no torch, not even indirectly), drawing, and deciding which numbers are computed.
"""

from mimprobe.tables.folder import (
    MANIFEST_NAME,
    check_output,
    files_of,
    prepare_output,
    register_files,
    write_atomically,
    write_text,
)
from mimprobe.tables.result import (
    FORMAT,
    PER_IMAGE_NAME,
    Result,
    holds_result,
    read_result,
)
from mimprobe.tables.schema import (
    CHANNEL_COLUMNS,
    HEAD_COLUMNS,
    KINDS,
    PAIR_COLUMNS,
    PER_IMAGE_KEYS,
    PIXEL_COLUMNS,
    TEXT_COLUMNS,
    PerImageValues,
    join_per_image,
)

__all__ = [
    "CHANNEL_COLUMNS",
    "FORMAT",
    "HEAD_COLUMNS",
    "KINDS",
    "MANIFEST_NAME",
    "PAIR_COLUMNS",
    "PER_IMAGE_KEYS",
    "PER_IMAGE_NAME",
    "PIXEL_COLUMNS",
    "TEXT_COLUMNS",
    "PerImageValues",
    "Result",
    "check_output",
    "files_of",
    "holds_result",
    "join_per_image",
    "prepare_output",
    "read_result",
    "register_files",
    "write_atomically",
    "write_text",
]
