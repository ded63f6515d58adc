"""The border between measuring and drawing: tidy tables, their manifest, reading and writing.

What belongs here: column names, the `Result` that `probe` returns, its files. What does not:
tensors (no torch, not even indirectly), drawing, and deciding which numbers are computed.
"""

from mimprobe.tables.folder import (
    MANIFEST_NAME,
    PROGRESS_FOLDER,
    check_output,
    files_of,
    holds_progress,
    prepare_output,
    register_files,
    remove_progress,
    write_atomically,
    write_text,
)
from mimprobe.tables.readout import CHANCE, best_readouts
from mimprobe.tables.result import (
    FORMAT,
    PER_IMAGE_NAME,
    Result,
    holds_result,
    read_result,
)
from mimprobe.tables.schema import (
    CHANNEL_COLUMNS,
    CURVE_COLUMNS,
    FINAL_COLUMNS,
    HEAD_COLUMNS,
    HEAD_PAIR_COLUMNS,
    KINDS,
    LAYER_TEST_COLUMNS,
    LAYER_TESTS,
    OFFSET_COLUMNS,
    PAIR_COLUMNS,
    PER_IMAGE_KEYS,
    PIXEL_COLUMNS,
    PROFILE_COLUMNS,
    READOUT_COLUMNS,
    STEP,
    TEXT_COLUMNS,
    PerImageValues,
    join_per_image,
)

__all__ = [
    "CHANCE",
    "CHANNEL_COLUMNS",
    "CURVE_COLUMNS",
    "FINAL_COLUMNS",
    "FORMAT",
    "HEAD_COLUMNS",
    "HEAD_PAIR_COLUMNS",
    "KINDS",
    "LAYER_TESTS",
    "LAYER_TEST_COLUMNS",
    "MANIFEST_NAME",
    "OFFSET_COLUMNS",
    "PAIR_COLUMNS",
    "PER_IMAGE_KEYS",
    "PER_IMAGE_NAME",
    "PIXEL_COLUMNS",
    "PROFILE_COLUMNS",
    "PROGRESS_FOLDER",
    "READOUT_COLUMNS",
    "STEP",
    "TEXT_COLUMNS",
    "PerImageValues",
    "Result",
    "best_readouts",
    "check_output",
    "files_of",
    "holds_progress",
    "holds_result",
    "join_per_image",
    "prepare_output",
    "read_result",
    "register_files",
    "remove_progress",
    "write_atomically",
    "write_text",
]
