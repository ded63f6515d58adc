"""Files from the internet in a cache on this machine: fetched once, whole, checked.

What belongs here: where the cache is, and how one file gets into it from the addresses that are
known for it. What does not: the download itself (`download`), which file a network needs (`card`),
and reading it (`weights`).

An address is one of

    https://... or http://...
    gdrive:ID                       a file on Google Drive, through gdown (the extra `gdrive`)
    hf:OWNER/REPO@REVISION/PATH     a file on the Hugging Face hub; @REVISION may be left out

Beside NAME the cache holds NAME.lock and, while NAME is not whole, NAME.part (its bytes so far),
NAME.part.from (where they came from) and NAME.other (a folder for gdown and huggingface_hub).
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from rich.console import Console

from mimprobe.errors import CheckpointError, OptionError
from mimprobe.zoo.download import FORMS, SOURCES, AddressError, Download

OFFLINE = ("MIMPROBE_OFFLINE", "HF_HUB_OFFLINE")
"""Environment variables that forbid the network when set to 1, true, yes or on."""


def cache_directory() -> Path:
    """Find the cache: the environment variable MIMPROBE_CACHE, else the platform's usual place."""
    chosen = os.environ.get("MIMPROBE_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("mimprobe", appauthor=False)


def cached_file(file: str) -> Path | None:
    """Give the path of a whole file in the cache, or None if it is not there.

    Raises:
        OptionError: `file` is not a plain name.
    """
    if file in ("", ".", "..") or re.search(r"[/\\\0]", file):
        raise OptionError(f"cache file {file!r} is not a plain name; give one without a folder")
    path = cache_directory() / file
    # Path.is_file would raise where the folder may not be entered.
    return path if os.path.isfile(path) else None  # noqa: PTH113


def fetch_file(
    file: str, addresses: Sequence[str], *, checksum: str = "", fetch_again: bool = False
) -> Path:
    """Give the path of `file` in the cache, after fetching it if it is not there.

    Addresses are tried in order. A broken download is continued by the next call. Of several
    processes one downloads while the others wait for its file. A file that is already in the cache
    is neither fetched, except with `fetch_again`, nor checked.

    Args:
        file: its name in the cache.
        addresses: where it may be had, in the forms listed at the top of this module.
        checksum: "" or `sha256:HEX` or `md5:HEX`, where HEX may be the first digits only.
        fetch_again: replace the file in the cache, once the new one is whole.

    Raises:
        OptionError: a name, address or checksum of another form.
        CheckpointError: no address gave the file, or the cache cannot be written.
    """
    _check_forms(addresses, checksum)
    cached = cached_file(file)
    if cached is not None and not fetch_again:
        return cached
    _check_online(file, addresses)
    download = Download(cache_directory() / file)
    try:
        before = download.stamp
        download.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(download.path):
            if download.stamp in (None, before):  # else another process has just fetched it
                _fetch(download, addresses, checksum)
    except OSError as error:
        raise CheckpointError(download.unwritable(error)) from error
    return download.path


def _check_forms(addresses: Sequence[str], checksum: str) -> None:
    for address in addresses:
        if not any(re.fullmatch(form, address) for form in FORMS.values()):
            raise OptionError(
                f"address {address!r} is none of https://HOST/PATH, gdrive:ID and "
                "hf:OWNER/REPO[@REVISION]/PATH"
            )
    if checksum and not re.fullmatch(r"(?i)sha256:[0-9a-f]{6,64}|md5:[0-9a-f]{6,32}", checksum):
        raise OptionError(
            f"checksum {checksum!r} is neither sha256:HEX nor md5:HEX with 6 digits or more"
        )


def _check_online(file: str, addresses: Sequence[str]) -> None:
    for variable in OFFLINE:
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
            sources = " or ".join(map(_in_browser, addresses)) or "its source"
            raise CheckpointError(
                f"{file} is to be fetched, but {variable} is set; unset it, or download {sources} "
                f"elsewhere and save it as {cache_directory() / file}"
            )


def _in_browser(address: str) -> str:
    """Give the address under which a browser finds the file."""
    if drive := re.fullmatch(FORMS["gdrive"], address):
        return f"https://drive.google.com/file/d/{drive[1]}/view"
    if hub := re.fullmatch(FORMS["hf"], address):
        return f"https://huggingface.co/{hub[1]}/resolve/{hub[2] or 'main'}/{hub[3]}"
    return address


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time fetch a file."""
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        with Console(stderr=True).status(f"another process fetches {path.name}; waiting for it"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(download: Download, addresses: Sequence[str], checksum: str) -> None:
    """Try the addresses until one gives the right file."""
    facts = []
    for address in addresses:
        try:
            SOURCES[address.partition(":")[0]](address, download)
            _check_content(download, checksum)
            return download.finish()
        except AddressError as error:
            facts.append(f"{_in_browser(address)}: {error}")
    raise CheckpointError(
        f"{download.path.name} was not fetched: {'; '.join(facts) or 'no address is known'}; try "
        f"again, or download it in a browser and save it as {download.path}"
    )


def _check_content(download: Download, checksum: str) -> None:
    """Discard what is no file of weights, or not the expected one."""
    with download.part.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        file.seek(0)
        algorithm, _, expected = checksum.lower().partition(":")
        found = hashlib.file_digest(file, algorithm).hexdigest() if algorithm else ""
    problem = ""
    if not start:
        problem = "the answer is empty"
    elif start.startswith((b"<!doctype", b"<html")):
        problem = "the answer is a web page (HTML), not a file"
    elif not found.startswith(expected):
        problem = f"its {algorithm} is {found}, expected {expected}; what came was deleted"
    if problem:
        download.discard()
        raise AddressError(problem)
