"""From an internet that stalls, truncates, lies and answers 404: a whole file or one line."""

import errno
import importlib
import io
import sys
import zlib
from pathlib import Path

import pytest
import requests
from zoo.internet import BODY, MD5, SHA256, error_of, left_in, whole
from zoo.web import Reply, Web

from mimprobe.zoo import download
from mimprobe.zoo.fetch import fetch_file

pytestmark = pytest.mark.usefixtures("cache")


def test_progress_shows_on_a_terminal_and_goes_away(web, cache, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    cut, good = (Reply(BODY, pace=1_024, ranges=False, cut=cut) for cut in (4_096, None))
    fetch_file("w.pth", [web.serve("/w.pth", cut, good)])
    shown = sys.stderr.getvalue()
    assert "w.pth" in shown
    assert "10.0/10.0 kB" in shown
    assert "kB/s" in shown
    assert shown.endswith("\x1b[2K")  # erased


def test_redirects_are_followed_and_keep_the_range(web, cache):
    web.serve("/real", Reply(BODY, cut=4_096), Reply(BODY))
    address = web.serve("/w.pth", Reply(status=302, headers={"Location": web.home + "/real"}))
    fetch_file("w.pth", [address])
    assert whole(cache)
    assert web.ranges() == [None, None, "bytes=4096-", "bytes=4096-"]


@pytest.mark.parametrize("reply", [Reply(BODY, length=-1), Reply(BODY, chunked=True, pace=3_000)])
def test_without_a_content_length(web, cache, reply):
    fetch_file("w.pth", [web.serve("/w.pth", reply)])
    assert whole(cache)


def test_compressed_on_the_way(web, cache):
    """Such bytes do not count as those on the disk, so they cannot be continued."""
    squeeze = zlib.compressobj(wbits=31)
    coded = squeeze.compress(BODY) + squeeze.flush()
    headers = {"Content-Encoding": "gzip"}
    cut, good = Reply(coded, headers=headers, cut=5_000), Reply(coded, headers=headers)
    fetch_file("w.pth", [web.serve("/w.pth", cut, good)])
    assert whole(cache)
    assert web.ranges() == [None, None]
    assert web.requests[0].headers["accept-encoding"] == "identity"


def test_a_proxy_from_the_environment(web, cache, monkeypatch):
    monkeypatch.setenv("http_proxy", web.home)
    web.replies["http://weights.invalid/w.pth"] = [Reply(BODY)]
    fetch_file("w.pth", ["http://weights.invalid/w.pth"])
    assert whole(cache)


@pytest.mark.parametrize("status", [403, 404])
def test_what_is_not_there_is_not_asked_for_again(web, cache, status):
    message = error_of([web.serve("/w.pth", Reply(b"no", status))])
    reason = {403: "Forbidden", 404: "Not Found"}[status]
    assert message == (
        f"w.pth was not fetched: {web.home}/w.pth: HTTP {status} {reason}; try again, or download "
        f"it in a browser and save it as {cache}/w.pth"
    )
    assert len(web.requests) == 1
    assert left_in(cache) == ["w.pth.lock"]


def test_server_errors_are_waited_out(web, cache):
    fetch_file("w.pth", [web.serve("/w.pth", Reply(status=500), Reply(status=503), Reply(BODY))])
    assert whole(cache)


def test_server_errors_without_end(web):
    message = error_of([web.serve("/w.pth", Reply(status=503))])
    assert "HTTP 503 Service Unavailable" in message
    assert len(web.requests) == 1 + download.RETRIES


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<b>Quota exceeded</b>", headers={"Content-Type": "text/html; charset=utf-8"}),
        Reply(b"\n  <!DOCTYPE html><html>Sign in</html>"),
        Reply(b"\xef\xbb\xbf<HTML>Sign in</HTML>"),
    ],
)
def test_a_web_page_is_no_file(web, cache, reply):
    message = error_of([web.serve("/w.pth", reply)])
    assert "the answer is a web page (HTML), not a file" in message
    assert left_in(cache) == ["w.pth.lock"]


def test_an_empty_answer_is_no_file(web, cache):
    assert "the answer is empty" in error_of([web.serve("/w.pth", Reply(b""))])
    assert left_in(cache) == ["w.pth.lock"]


def test_a_stall_is_given_up_and_continued(web, cache):
    fetch_file("w.pth", [web.serve("/w.pth", Reply(BODY, stall=4_096), Reply(BODY))])
    assert whole(cache)
    assert web.ranges() == [None, "bytes=4096-"]
    assert web.requests[1].headers["if-range"] == '"one"'
    assert not web.outwaited


def test_a_truncated_body_is_continued(web, cache):
    replies = Reply(BODY, cut=3_072), Reply(BODY, cut=3_072), Reply(BODY)
    fetch_file("w.pth", [web.serve("/w.pth", *replies)], checksum=f"md5:{MD5[:6].upper()}")
    assert whole(cache)
    assert web.ranges() == [None, "bytes=3072-", "bytes=6144-"]
    assert sum(request.sent for request in web.requests) == len(BODY)


def test_a_chunked_body_that_breaks_off_is_continued(web, cache):
    cut = Reply(BODY, chunked=True, pace=1_024, cut=3_072)
    fetch_file("w.pth", [web.serve("/w.pth", cut, Reply(BODY))])
    assert whole(cache)
    assert web.ranges() == [None, "bytes=3072-"]


def test_a_connection_that_breaks_often_but_moves_is_not_given_up(web, cache):
    fetch_file("w.pth", [web.serve("/w.pth", Reply(BODY, cut=600))])
    assert whole(cache)
    assert len(web.requests) == 20 > download.RETRIES + 1


@pytest.mark.parametrize("cause", [{"cut": 5_120}, {"length": 20_000}], ids=["cut", "length"])
def test_a_connection_that_does_not_move_is_given_up(web, cache, cause):
    message = error_of([web.serve("/w.pth", Reply(BODY, ranges=False, **cause))])
    assert "IncompleteRead" in message
    kept = (cache / "w.pth.part").stat().st_size
    assert kept == cause.get("cut", 19 * 512)
    assert f"more expected); {kept:,} bytes are kept to go on from; try again" in message
    assert left_in(cache) == ["w.pth.lock", "w.pth.part", "w.pth.part.from"]
    assert len(web.requests) == download.RETRIES + 2


def test_too_short_a_content_length_is_found_by_the_checksum(web, cache):
    address = web.serve("/w.pth", Reply(BODY, length=5_000))
    assert "its sha256 is" in error_of([address], checksum=f"sha256:{SHA256[:8]}")
    assert left_in(cache) == ["w.pth.lock"]


def test_a_server_without_ranges_starts_again(web, cache):
    cut, good = Reply(BODY, cut=4_096, ranges=False), Reply(BODY, ranges=False)
    fetch_file("w.pth", [web.serve("/w.pth", cut, good)])
    assert whole(cache)
    assert web.ranges() == [None, "bytes=4096-"]


@pytest.mark.parametrize("polite", [True, False], ids=["200", "206 of the new file"])
def test_a_file_that_changed_meanwhile_is_not_spliced(web, cache, polite):
    old = Reply(bytes(10_000), etag='"old"', cut=4_096)
    new = Reply(BODY, etag='"new"', if_range=polite)
    fetch_file("w.pth", [web.serve("/w.pth", old, new)])
    assert whole(cache)
    assert web.ranges() == [None, "bytes=4096-", None][: 2 if polite else 3]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_the_date_decides(web, cache, etag):
    date = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    cut = Reply(BODY, etag=etag, headers=date, cut=4_096)
    fetch_file("w.pth", [web.serve("/w.pth", cut, Reply(BODY, if_range=False))])
    assert whole(cache)
    assert web.requests[1].headers["if-range"] == date["Last-Modified"]


def test_with_neither_etag_nor_date_nothing_is_continued(web, cache):
    replies = Reply(bytes(10_000), etag=None, cut=4_096), Reply(BODY, etag=None)
    fetch_file("w.pth", [web.serve("/w.pth", *replies)])
    assert whole(cache)
    assert web.ranges() == [None, None]


def test_bytes_of_another_address_are_not_continued(web, cache):
    first = web.serve("/first", Reply(bytes(10_000), cut=4_096), Reply(status=404))
    error_of([first])
    assert (cache / "w.pth.part").stat().st_size == 4_096  # kept for the next call
    fetch_file("w.pth", [web.serve("/w.pth", Reply(BODY))])
    assert whole(cache)
    assert web.ranges() == [None, "bytes=4096-", None]


def test_a_whole_part_without_its_name_is_not_sent_again(web, cache):
    """What a power cut between the last byte and the renaming leaves."""
    address = web.serve("/w.pth", Reply(BODY))
    cache.mkdir()
    (cache / "w.pth.part").write_bytes(BODY)
    (cache / "w.pth.part.from").write_text(f'{address}\n"one"')
    fetch_file("w.pth", [address])
    assert whole(cache)
    assert [request.sent for request in web.requests] == [0]


def test_a_part_longer_than_the_file_starts_again(web, cache):
    address = web.serve("/w.pth", Reply(BODY))
    cache.mkdir()
    (cache / "w.pth.part").write_bytes(BODY + b"more")
    (cache / "w.pth.part.from").write_text(f'{address}\n"one"')
    fetch_file("w.pth", [address])
    assert whole(cache)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_fills_up(web, cache):
    cache.mkdir()
    (cache / "w.pth.part").symlink_to("/dev/full")
    addresses = [web.serve("/w.pth", Reply(BODY)), web.serve("/never", Reply(BODY))]
    message = error_of(addresses)
    assert f"w.pth cannot be written to {cache} (No space left on device), " in message
    assert "10,000 more bytes are needed; make room there or set MIMPROBE_CACHE" in message
    assert [request.path for request in web.requests] == ["/w.pth"]
    assert not (cache / "w.pth").exists()


def test_a_disk_too_small_is_found_before_the_first_byte(web, cache, monkeypatch):
    error_of([web.serve("/w.pth", Reply(BODY, cut=4_096), Reply(status=404))])
    usage = type("Usage", (), {"free": 5_903})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    address = web.serve("/w.pth", Reply(BODY))
    assert "5,904 more bytes are needed" in error_of([address])
    assert (cache / "w.pth.part").read_bytes() == BODY[:4_096]
    usage.free = 5_904
    fetch_file("w.pth", [address])
    assert whole(cache)


def test_google_drive_without_gdown(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert error_of(["gdrive:1aB-_9"]) == (
        "w.pth was not fetched: https://drive.google.com/file/d/1aB-_9/view: Google Drive needs "
        "gdown, which is not installed: pip install 'mimprobe[gdrive]'; try again, or download it "
        f"in a browser and save it as {cache}/w.pth"
    )


@pytest.fixture
def drive(web, monkeypatch, tmp_path):
    """The real gdown, with the local server in the place of Google."""
    pytest.importorskip("gdown", reason="gdown is an extra")
    request = requests.Session.request

    def request_here(session, method, url, **options):
        url = url.replace("https://drive.google.com", web.home)
        return request(session, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", request_here)
    inner = importlib.import_module("gdown.download")  # the name in gdown is the function
    monkeypatch.setattr(inner, "CHUNK_SIZE", 512)
    monkeypatch.setattr(inner, "DEFAULT_COOKIES_FILE", str(tmp_path / "cookies.txt"))
    return web


ATTACHED = {"Content-Disposition": 'attachment; filename="theirs.pth"'}


def test_google_drive(drive, cache, capfd):
    drive.serve("/uc", Reply(BODY, headers=ATTACHED))
    fetch_file("w.pth", ["gdrive:1aB-_9"], checksum=f"sha256:{SHA256[:8]}")
    assert whole(cache)
    assert drive.requests[0].path == "/uc?id=1aB-_9"
    assert capfd.readouterr() == ("", "")


def test_google_drive_goes_on_in_the_next_call(drive, cache, monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 0)
    cut = Reply(BODY, headers=ATTACHED, cut=4_096)
    drive.serve("/uc", cut, Reply(BODY, headers=ATTACHED))
    assert "IncompleteRead(4096 bytes read, 5904 more" in error_of(["gdrive:1aB-_9"])
    fetch_file("w.pth", ["gdrive:1aB-_9"])
    assert whole(cache)
    assert "bytes=4096-" in drive.ranges()


def test_bytes_of_another_file_on_google_drive_are_not_continued(drive, cache, monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 0)
    cut = Reply(bytes(10_000), headers=ATTACHED, cut=4_096)
    drive.serve("/uc", cut, Reply(BODY, headers=ATTACHED))
    error_of(["gdrive:one"])
    fetch_file("w.pth", ["gdrive:other"])
    assert whole(cache)


def test_what_one_source_left_is_removed_when_another_gives_the_file(drive, cache, monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 0)
    drive.serve("/uc", Reply(BODY, headers=ATTACHED, cut=4_096), Reply(BODY, headers=ATTACHED))
    half = Reply(bytes(10_000), cut=4_096), Reply(status=404)
    error_of(["gdrive:1aB-_9", drive.serve("/half", *half)])
    assert left_in(cache) == ["w.pth.lock", "w.pth.other", "w.pth.part", "w.pth.part.from"]
    fetch_file("w.pth", [drive.serve("/w.pth", Reply(BODY))])
    assert whole(cache)
    error_of([drive.serve("/half", *half)], fetch_again=True)
    assert left_in(cache) == ["w.pth", "w.pth.lock", "w.pth.part", "w.pth.part.from"]
    fetch_file("w.pth", ["gdrive:1aB-_9"], fetch_again=True)
    assert whole(cache)


def test_google_drive_on_a_full_disk(drive, cache, monkeypatch):
    import gdown

    def fill(progress, **_):
        progress(4_000, 10_000)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gdown, "download", fill)
    message = error_of(["gdrive:1aB-_9"])
    assert "(No space left on device), 6,000 more bytes are needed; make room" in message


def test_a_whole_file_that_gets_no_name_belongs_to_its_source(drive, cache, monkeypatch):
    """Its bytes must not pass for the first ones of what another address was sending."""
    zeros = bytes(12_000)
    address = drive.serve("/zeros", Reply(zeros, cut=4_096), Reply(status=404), Reply(zeros))
    error_of([address])

    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    drive.serve("/uc", Reply(BODY, headers=ATTACHED))
    with monkeypatch.context() as broken:
        broken.setattr(download.os, "fsync", fail)
        assert "w.pth cannot be written to" in error_of(["gdrive:1aB-_9"])
    fetch_file("w.pth", [address])
    assert (cache / "w.pth").read_bytes() == zeros


def test_google_drive_out_of_reach(drive, monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 0)
    with Web() as closed:
        home = closed.home
    monkeypatch.setattr(Web, "home", home)
    assert ": Failed to establish a new connection: [Errno " in error_of(["gdrive:1aB-_9"])


def test_google_drive_refuses(drive, cache):
    page = Reply(b"<html>Sign in</html>", headers={"Content-Type": "text/html"})
    drive.serve("/uc", page)
    message = error_of(["gdrive:1aB-_9"])
    assert "https://drive.google.com/file/d/1aB-_9/view: " in message
    assert "Cannot retrieve the public link of the file" in message
    assert not (cache / "w.pth").exists()


HUB = {"X-Repo-Commit": "0123456789" * 4}


@pytest.fixture
def hub(web, monkeypatch, tmp_path):
    """The real huggingface_hub, with the local server as its endpoint."""
    import huggingface_hub.constants as constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, web.home)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", web.home)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return web


@pytest.mark.parametrize("revision", ["", "@v1.0"])
def test_hugging_face(hub, cache, revision, capfd):
    reply = Reply(BODY, etag=f'"{SHA256}"', headers=HUB)
    hub.serve(f"/me/it/resolve/{revision[1:] or 'main'}/sub/w.safetensors", reply)
    fetch_file("w.pth", [f"hf:me/it{revision}/sub/w.safetensors"], checksum=f"sha256:{SHA256}")
    assert whole(cache)
    assert capfd.readouterr() == ("", "")


def test_hugging_face_says_no(hub, cache):
    headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
    hub.serve("/me/it/resolve/main/w.pth", Reply(b"no", 404, headers))
    message = error_of(["hf:me/it/w.pth"])
    assert "https://huggingface.co/me/it/resolve/main/w.pth: " in message
    assert "404 Client Error. Entry Not Found for url" in message
    assert not (cache / "w.pth").exists()
