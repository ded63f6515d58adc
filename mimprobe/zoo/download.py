"""Bytes from the internet into a partial file: over the web, from Google Drive, from the hub.

What belongs here: one function for each kind of address, and the partial file that they fill. What
does not: the cache, and whether the file that came is the right one (`fetch`).

Resuming, which no library does for us, is ours: pooch, the usual one for such a cache, starts again
at the first byte and compares whole checksums only. The rest is requests and urllib3.
"""

import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from mimprobe.errors import CheckpointError

READ_TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""

RETRIES = 5
"""Tries in a row, each bringing less than CHUNK, after which an address is given up."""

BACK_OFF = 1.0
"""Seconds before a try is repeated; doubled each time."""

CHUNK = 1 << 16
"""Bytes that are read and written at a time; what a broken connection may lose."""

FORMS = {
    "https": r"https?://[^/\s]+/\S*",
    "gdrive": r"gdrive:([\w-]+)",
    "hf": r"hf:([^/@\s]+/[^/@\s]+)(?:@([^/\s]+))?/(\S+)",
}
"""What each kind of address looks like."""

BROKEN = (requests.RequestException, HTTPError)
"""What requests raises, and what it forgets to translate from urllib3."""


class AddressError(CheckpointError):
    """An address that did not give the file; the next one may."""


class Download:
    """A file on its way: where its bytes lie until it is whole, and how many are missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part, self.origin, self.other = (
            path.with_name(path.name + ending) for ending in (".part", ".part.from", ".other")
        )
        self.missing: int | None = None

    @property
    def stamp(self) -> tuple[int, int] | None:
        """Tell one file at the final place from its successor."""
        status = self.path.stat() if self.path.is_file() else None
        return None if status is None else (status.st_ino, status.st_mtime_ns)

    @property
    def size(self) -> int:
        """Count the bytes so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def version(self, address: str) -> str:
        """Give the ETag or date of what the bytes so far are a part of, "" if unknown."""
        origin = self.origin.read_text("utf-8", "replace") if self.origin.exists() else ""
        found, _, version = origin.partition("\n")
        return version if found == address else ""

    def begin(self, address: str, version: str) -> None:
        """Forget the bytes so far; those to come are of this version of this address."""
        self.part.write_bytes(b"")
        self.origin.write_text(f"{address}\n{version}", "utf-8")

    def discard(self) -> None:
        """Forget the bytes so far."""
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def take(self, whole: Path) -> None:
        """Move what another library has downloaded to where our own downloads end."""
        self.discard()
        whole.replace(self.part)

    def finish(self) -> None:
        """Give the whole file its name."""
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.replace(self.path)
        self.origin.unlink(missing_ok=True)
        shutil.rmtree(self.other, ignore_errors=True)

    def expect(self, done: int, total: int | None) -> None:
        """Note how much is to come."""
        self.missing = None if total is None else total - done

    def unwritable(self, error: OSError) -> str:
        """Say that the cache cannot be written, and how much room the file needs."""
        needs = "" if self.missing is None else f", {self.missing:,} more bytes are needed"
        return (
            f"{self.path.name} cannot be written to {self.path.parent} "
            f"({error.strerror or error}){needs}; make room there or set MIMPROBE_CACHE to a "
            "folder that can be written"
        )


def _from_web(address: str, download: Download) -> None:
    """Download until whole, going on after the last byte when the connection breaks."""
    retry = Retry(  # what goes wrong before the first byte
        RETRIES, connect=2, other=2, backoff_factor=BACK_OFF, raise_on_status=False,
        status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=False,
    )  # fmt: skip
    failures, reached = 0, download.size
    with requests.Session() as session:
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        while problem := _receive(session, address, download):
            failures = 0 if download.size >= reached + CHUNK else failures + 1
            reached = max(reached, download.size)
            if failures > RETRIES:
                kept = f"; {download.size:,} bytes are kept to go on from"
                raise AddressError(problem + (kept if download.size else ""))
            time.sleep(BACK_OFF * 2**failures)


def _receive(session: requests.Session, address: str, download: Download) -> str:
    """Append what the server sends to the bytes so far; say what broke, or "" when whole."""
    version = download.version(address)
    have = download.size if version else 0
    wanted = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
    with _answer(session, address, wanted) as answer:
        if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{have}":
            return ""  # it was whole already, but had not got its name
        if answer.status_code == 200:
            download.begin(address, _version(answer))
            have = 0
        elif not _continues(answer, have, version):
            download.discard()
            return "the file changed while it was downloaded"
        return _append(answer, have, download)


def _answer(
    session: requests.Session, address: str, wanted: Mapping[str, str]
) -> requests.Response:
    """Ask for the file and refuse any answer that is not one."""
    headers = {"Accept-Encoding": "identity", **wanted}  # bytes must count as they are on the disk
    try:
        answer = session.get(address, headers=headers, stream=True, timeout=READ_TIMEOUT)
    except BROKEN as error:
        raise AddressError(_reason(error)) from error
    problem = ""
    if answer.status_code not in ((200, 206, 416) if wanted else (200,)):
        problem = f"HTTP {answer.status_code} {answer.reason}".rstrip()
    elif answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        problem = "the answer is a web page (HTML), not a file"
    if problem:
        answer.close()
        raise AddressError(problem)
    return answer


def _version(answer: requests.Response) -> str:
    """Give what If-Range can hold on to: a strong ETag, else a date; nothing for coded bytes."""
    etag = answer.headers.get("ETag", "W/")
    found = answer.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
    return "" if "Content-Encoding" in answer.headers else found


def _continues(answer: requests.Response, have: int, version: str) -> bool:
    """Check that the bytes follow on those that are there."""
    place = answer.headers.get("Content-Range", "")
    return place.startswith(f"bytes {have}-") and _version(answer) in ("", version)


def _append(answer: requests.Response, have: int, download: Download) -> str:
    """Write what comes behind the first `have` bytes; say what broke, or "" at the end."""
    length = answer.headers.get("Content-Length", "")
    total = have + int(length) if length.isdecimal() else None
    download.expect(have, total)
    if 0 < shutil.disk_usage(download.part.parent).free < (download.missing or 0):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with _bar(download) as show, download.part.open("ab") as file:
        chunks = answer.iter_content(CHUNK)
        while True:
            try:
                chunk = next(chunks, b"")  # raises when it is cut off: urllib3 counts the bytes
            except BROKEN as error:
                return _reason(error)
            if not chunk:
                return ""
            file.write(chunk)
            file.flush()  # so that what is shown as done is done
            have += len(chunk)
            show(have, total)


@contextmanager
def _bar(download: Download) -> Iterator[Callable[[int, int | None], None]]:
    """Show bytes, rate and time left on a terminal, and keep count of what is missing."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    console, silent = Console(stderr=True), not sys.stderr.isatty()
    with Progress(*columns, console=console, disable=silent, transient=True) as bar:
        task = bar.add_task(download.path.name, total=None)

        def show(done: int, total: int | None) -> None:
            download.expect(done, total)
            bar.update(task, completed=done, total=total)

        yield show


def _from_drive(address: str, download: Download) -> None:
    """Let gdown find its way through Google's confirmation pages."""
    try:
        import gdown
    except ImportError as error:
        raise AddressError(
            "Google Drive needs gdown, which is not installed: pip install 'mimprobe[gdrive]'"
        ) from error
    identity = address.removeprefix("gdrive:")
    download.other.mkdir(exist_ok=True)
    whole = download.other / identity  # named by it, so that no other file's bytes are continued
    with _explained(), _bar(download) as show:
        gdown.download(
            id=identity, output=str(whole), quiet=True, resume=True,
            timeout=READ_TIMEOUT, retries=RETRIES, progress=show,
        )  # fmt: skip
    download.take(whole)


def _from_hub(address: str, download: Download) -> None:
    """Let huggingface_hub fetch, or copy from its own cache; it resumes and shows progress too."""
    from huggingface_hub import hf_hub_download

    found = re.fullmatch(FORMS["hf"], address)
    assert found is not None  # checked at the start
    with _explained():
        whole = hf_hub_download(found[1], found[3], revision=found[2], local_dir=download.other)
    download.take(Path(whole))


@contextmanager
def _explained() -> Iterator[None]:
    """Make one line of whatever another library raises, except when the disk is full."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        # An answer from the hub is told well by its own error, everything else by the cause.
        told = error if hasattr(error, "response") else error.__cause__ or error
        raise AddressError(_reason(told)) from error


def _reason(error: BaseException) -> str:
    """Find the innermost fact in what requests and urllib3 wrap around it, in one line."""
    first = next(iter(error.args), None)
    for inner in (getattr(error, "reason", None), first):
        if isinstance(inner, BaseException):
            return _reason(inner)
    text = " ".join(str(first if isinstance(first, str) else error).split())
    return re.sub(r"^HTTPS?Connection.*?\): ", "", text).rstrip(".") or type(error).__name__


SOURCES = {"https": _from_web, "http": _from_web, "gdrive": _from_drive, "hf": _from_hub}
"""Who fetches each kind of address."""
