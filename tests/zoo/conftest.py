"""An internet on this machine, and a cache of one's own."""

import pytest
from zoo.web import Web

from mimprobe.zoo import download
from mimprobe.zoo.fetch import OFFLINE


@pytest.fixture
def web():
    with Web() as server:
        yield server


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", *OFFLINE):
        for variable in (name, name.upper()):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MIMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "READ_TIMEOUT", 1.0)
    monkeypatch.setattr(download, "RETRIES", 3)
    monkeypatch.setattr(download, "BACK_OFF", 0.01)
    monkeypatch.setattr(download, "CHUNK", 512)
    return tmp_path / "cache"
