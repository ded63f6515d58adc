"""Memory that stays with the process while networks run, and goes back after."""

import platform
import resource
from pathlib import Path

import pytest
import torch

from mimprobe.models.allocation import kept_pages

CPU = torch.device("cpu")
MAP = (1, 1, 1024, 1024)
"""4 MB: 1,024 pages, each of which costs a page fault where they are not kept."""

FEW = 8 * 1024
"""Page faults of one round; 20 rounds that keep no page have 20 times as many."""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def faults(times: int = 20) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        several = [torch.ones(MAP) for _ in range(8)]
        del several
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@glibc
def test_pages_are_kept_within_and_given_back_after():
    with kept_pages(CPU):
        faults(2)
        assert faults() < FEW
        with kept_pages(CPU):
            several = [torch.ones(MAP) for _ in range(32)]
        del several
        assert faults() < FEW  # the outer context still holds them
        held = resident()
    assert resident() < held - 64 * 2**20


def test_another_device_is_left_alone(monkeypatch):
    monkeypatch.setattr("mimprobe.models.allocation._glibc", lambda: pytest.fail("was asked"))
    with kept_pages(torch.device("cuda")):
        pass


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    with kept_pages(CPU):
        pass
