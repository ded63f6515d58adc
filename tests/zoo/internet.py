"""What the tests of downloads share: a file, processes that fetch it, and what they leave."""

import hashlib
import os
import random
import subprocess
import sys

import pytest

from mimprobe.errors import CheckpointError
from mimprobe.zoo.fetch import fetch_file

BODY = random.Random(0).randbytes(10_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()

FETCH = """
import os, signal, sys
from mimprobe.zoo import download, fetch
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are born deaf to it
download.CHUNK = 512
if "--powerless" in sys.argv and os.getuid() == 0:
    os.setuid(65534)
try:
    print(fetch.fetch_file("w.pth", sys.argv[1:2]))
except fetch.CheckpointError as error:
    print("CheckpointError", error)
"""
"""What another process does, by name of the address."""


def left_in(cache):
    return sorted(path.name for path in cache.iterdir())


def error_of(addresses, **options):
    """The message of the CheckpointError, with its form checked."""
    with pytest.raises(CheckpointError) as caught:
        fetch_file("w.pth", addresses, **options)
    assert type(caught.value) is CheckpointError
    assert "\n" not in str(caught.value)
    return str(caught.value)


def whole(cache):
    """The file is there, with nothing left over but its lock."""
    assert left_in(cache) == ["w.pth", "w.pth.lock"]
    return (cache / "w.pth").read_bytes() == BODY


def start_process(address, cache, *options):
    command = [sys.executable, "-c", FETCH, address, *options]
    environment = {**os.environ, "MIMPROBE_CACHE": str(cache)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)
