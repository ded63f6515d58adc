"""The command as a user runs it, and photographs of their own."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image


@dataclass
class Outcome:
    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def mimprobe():
    """Run `python -m mimprobe` in a process of its own."""

    def run(*arguments, cwd=None):
        done = subprocess.run(
            [sys.executable, "-m", "mimprobe", *map(str, arguments)],
            capture_output=True, text=True, check=False, cwd=cwd,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for number in range(6):
        pixels = draw.integers(0, 256, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder
