"""A folder of cards of a user's own."""

import pytest


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """The folder is also the cache."""
    monkeypatch.setenv("MIMPROBE_CARDS", str(tmp_path))
    monkeypatch.setenv("MIMPROBE_CACHE", str(tmp_path))
    return tmp_path
