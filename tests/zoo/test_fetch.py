"""Into the cache: once, checked, by many processes, and onto disks that are full."""

import hashlib
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from zoo.internet import BODY, MD5, SHA256, error_of, left_in, start_process, whole
from zoo.web import Reply, Web

from mimprobe.errors import OptionError
from mimprobe.zoo.fetch import cache_directory, cached_file, fetch_file

pytestmark = pytest.mark.usefixtures("cache")


def test_a_file_is_fetched_once(web, cache, capfd):
    address = web.serve("/w.pth", Reply(BODY))
    assert cached_file("w.pth") is None
    path = fetch_file("w.pth", [address], checksum=f"sha256:{SHA256}")
    assert path == cache / "w.pth" == cached_file("w.pth")
    assert whole(cache)
    assert fetch_file("w.pth", [address]) == path
    assert len(web.requests) == 1
    assert capfd.readouterr() == ("", "")  # no terminal, no bar


def test_the_next_address_is_tried(web, cache):
    gone = web.serve("/gone", Reply(status=404))
    fetch_file("w.pth", [gone, web.serve("/w.pth", Reply(BODY))])
    assert whole(cache)


def test_the_error_names_every_address_with_its_fact(web):
    with Web() as closed:
        dead = closed.home + "/w.pth"
    wrong = web.serve("/wrong", Reply(b"other weights"))
    message = error_of(
        [web.serve("/gone", Reply(status=404)), dead, wrong], checksum=f"md5:{MD5[:6]}"
    )
    found = hashlib.md5(b"other weights").hexdigest()
    assert f"{web.home}/gone: HTTP 404 Not Found; {dead}: " in message
    assert "Connection refused; " in message
    assert f"{wrong}: its md5 is {found}, expected {MD5[:6]}; what came was deleted; try" in message


@pytest.mark.parametrize("address", ["http://a..b/w.pth", "http://[a/w.pth", "http://a:99999/w"])
def test_an_address_that_is_none(address):
    assert f"w.pth was not fetched: {address}: Failed to parse: " in error_of([address])


def test_no_address_at_all():
    assert "no address is known; try again, or download it" in error_of([])


def test_wrong_bytes_are_deleted(web, cache):
    address = web.serve("/w.pth", Reply(b"other weights"), Reply(BODY))
    expected = f"sha256:{SHA256[:8]}"
    found = hashlib.sha256(b"other weights").hexdigest()
    message = error_of([address], checksum=expected)
    assert f"its sha256 is {found}, expected {SHA256[:8]}" in message
    assert left_in(cache) == ["w.pth.lock"]
    fetch_file("w.pth", [address], checksum=expected)
    assert whole(cache)


def test_fetching_again_replaces_the_file_only_by_a_good_one(web, cache):
    cache.mkdir()
    (cache / "w.pth").write_bytes(b"the old one")
    address = web.serve("/w.pth", Reply(status=404), Reply(BODY))
    error_of([address], fetch_again=True)
    assert (cache / "w.pth").read_bytes() == b"the old one"
    fetch_file("w.pth", [address], fetch_again=True)
    assert whole(cache)


def test_of_four_processes_one_downloads(web, cache):
    address = web.serve("/w.pth", Reply(BODY, pace=250))
    processes = [start_process(address, cache) for _ in range(4)]
    assert [process.communicate() for process in processes] == [(f"{cache}/w.pth\n", "")] * 4
    assert [request.sent for request in web.requests] == [len(BODY)]
    assert whole(cache)


def test_what_another_process_has_fetched_meanwhile_is_not_fetched_again(web, cache):
    cache.mkdir()
    (cache / "w.pth").write_bytes(b"the old one")
    address = web.serve("/w.pth", Reply(bytes(10_000)))
    with ThreadPoolExecutor() as pool, FileLock(cache / "w.pth.lock"):
        path = pool.submit(fetch_file, "w.pth", [address], fetch_again=True)
        time.sleep(0.2)
        assert not path.done()
        (cache / "new").write_bytes(BODY)
        (cache / "new").replace(cache / "w.pth")
    assert path.result(timeout=10) == cache / "w.pth"
    assert whole(cache)
    assert web.requests == []


def wait_for(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_after_a_killed_process_the_next_goes_on(web, cache, signum):
    address = web.serve("/w.pth", Reply(BODY, pace=256), Reply(BODY))
    process = start_process(address, cache)
    part = cache / "w.pth.part"
    wait_for(lambda: part.exists() and part.stat().st_size >= 2_048)
    process.send_signal(signum)
    assert "w.pth" not in process.communicate()[0]
    assert left_in(cache) == ["w.pth.lock", "w.pth.part", "w.pth.part.from"]
    reached = part.stat().st_size
    fetch_file("w.pth", [address], checksum=f"sha256:{SHA256}")
    assert whole(cache)
    assert web.ranges() == [None, f"bytes={reached}-"]
    assert web.requests[1].sent == len(BODY) - reached < len(BODY) - 2_000


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("MIMPROBE_CACHE", "~/weights")
    assert cache_directory() == Path.home() / "weights"
    monkeypatch.setenv("MIMPROBE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    if sys.platform == "linux":
        assert cache_directory() == Path("/some/where/mimprobe")


@pytest.mark.parametrize(
    "name", ["a/b.pth", "../b.pth", "/b.pth", "a\\b", "b\0", "", ".", "..", "b/"]
)
def test_names_with_folders_are_refused(name):
    for call in (cached_file, lambda file: fetch_file(file, [])):
        with pytest.raises(OptionError, match="is not a plain name"):
            call(name)


@pytest.mark.parametrize("mode", [0o555, 0o400], ids=["read-only", "closed"])
def test_a_cache_that_cannot_be_written(web, mode):
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        Path(folder).chmod(0o755)
        cache.chmod(mode)
        process = start_process(web.serve("/w.pth", Reply(BODY)), cache, "--powerless")
        assert process.communicate()[0] == (
            f"CheckpointError w.pth cannot be written to {cache} (Permission denied); make room "
            "there or set MIMPROBE_CACHE to a folder that can be written\n"
        )
    assert web.requests == []


def test_a_cache_that_is_a_file(web, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIMPROBE_CACHE", str(tmp_path / "file"))
    message = error_of([web.serve("/w.pth", Reply(BODY))])
    assert f"w.pth cannot be written to {tmp_path}/file (File exists)" in message


@pytest.mark.parametrize(
    "address", ["ftp://host/w.pth", "w.pth", "gdrive:", "gdrive:a/b", "hf:owner/repo", "https://"]
)
def test_addresses_of_another_form_are_refused(web, address):
    with pytest.raises(OptionError, match="is none of https://HOST/PATH, gdrive:ID and hf:OWNER"):
        fetch_file("w.pth", [web.serve("/w.pth", Reply(BODY)), address])
    assert web.requests == []


@pytest.mark.parametrize("checksum", [SHA256, "sha1:abcdef12", "md5:abc", "md5:xyzxyz", "sha256:"])
def test_checksums_of_another_form_are_refused(checksum):
    with pytest.raises(OptionError, match="is neither sha256:HEX nor md5:HEX"):
        fetch_file("w.pth", [], checksum=checksum)


@pytest.mark.parametrize("variable", ["MIMPROBE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(web, cache, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    message = error_of([web.serve("/w.pth", Reply(BODY)), "gdrive:abc", "hf:me/it@v1/a/w.pth"])
    assert message == (
        f"w.pth is to be fetched, but {variable} is set; unset it, or download {web.home}/w.pth "
        "or https://drive.google.com/file/d/abc/view or "
        f"https://huggingface.co/me/it/resolve/v1/a/w.pth elsewhere and save it as {cache}/w.pth"
    )
    assert web.requests == []
    cache.mkdir()
    (cache / "w.pth").write_bytes(BODY)
    assert fetch_file("w.pth", []) == cache / "w.pth"
