"""Models by URL: downloaded once, checked, and kept in the user's cache folder."""

import hashlib
import logging
import os
import re
import socket
import time
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urldefrag, urlsplit

import filelock
import platformdirs
import requests

logger = logging.getLogger(__name__)

# Seconds before another attempt, which resumes where the last one broke off.
_WAITS = (1, 2, 4)
_CHUNK = 1 << 16


def is_url(source):
    """Whether a path or URL is a URL."""
    return re.match("https?:/", str(source), re.IGNORECASE) is not None


def local(source):
    """Where a path or URL lies on this machine.

    Args:
        source: a path, where a leading ``~`` is the home folder, or a URL as `fetch` takes it.

    Returns:
        Path; that of a URL has been downloaded if it was not before.

    Raises:
        ConnectionError, OSError, ValueError: as for `fetch`.
    """
    if is_url(source):
        return fetch(re.sub(":/+", "://", str(source), count=1))  # a Path makes :/ of ://
    return Path(source).expanduser()


def fetch(url, timeout=30):
    """Download a file, unless it is in the cache already.

    What broke off is gone on with, by the next attempt or the next call; of several processes, one
    downloads and the others wait for it. Proxies are taken from the environment, as by curl.

    Args:
        url: ``https://host/folder/model.keras#sha256=HEX``, or with ``http``.
        timeout: seconds without a byte after which an attempt is given up.

    Returns:
        Path of the file, of the same name, in a folder of its checksum in the cache: the folder
        that the environment variable KERAS_SALNET_CACHE names, or else the user's own for
        keras-salnet. It was checked before it got this name and is not checked again.

    Raises:
        ConnectionError: it cannot be downloaded.
        OSError: it cannot be written.
        ValueError: `url` lacks the checksum or a file's name, or the file has another checksum.
    """
    address, fragment = urldefrag(url)
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    name = PureWindowsPath(name).name  # where a backslash or C: would lead out of the folder
    if not PurePosixPath(name).suffix:
        raise ValueError(f"{address}: must end with the name of a file, such as model.keras.")
    checksum = re.fullmatch("sha256=([0-9a-f]{64})", fragment, re.IGNORECASE)
    if checksum is None:
        raise ValueError(
            f"{url}: needs the file's checksum, as {address}#sha256= with its 64 hexadecimal "
            "digits: only so is it certain that it arrives whole and is the one you mean. Its "
            "publisher names it; of a copy that you trust, sha256sum prints it."
        )
    sha256 = checksum[1].lower()
    cache = os.environ.get("KERAS_SALNET_CACHE") or platformdirs.user_cache_dir("keras-salnet")
    folder = Path(cache).expanduser().absolute() / sha256
    path, part = folder / name, folder / ".part"
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / ".lock"):
                if not path.is_file():  # now: another process may have brought it meanwhile
                    _download(address, sha256, part, timeout)
                    os.replace(part, path)
    except requests.RequestException as error:
        raise ConnectionError(
            f"{address}: cannot be downloaded: {_in_words(error, timeout)}. Try again later, or "
            "download it by other means and give the file."
        ) from error
    except OSError as error:
        raise OSError(
            f"{address}: cannot be written to {folder}: {error.strerror or error}. Make room "
            "there, or name another folder by the environment variable KERAS_SALNET_CACHE."
        ) from error
    return path


def _download(url, sha256, part, timeout):
    """Make `part` the file of this checksum, from whatever is there of it."""
    for wait in (*_WAITS, None):
        try:
            resumed = _receive(url, part, timeout)
        except requests.RequestException as error:
            if wait is None or _is_final(error):
                raise
            message = _in_words(error, timeout)
        else:
            with part.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            _etag(part).unlink()
            if found == sha256:
                return
            part.unlink()
            if wait is None or not resumed:
                raise ValueError(
                    f"{url}: the file has the SHA-256 checksum {found}, not {sha256}, and was "
                    "thrown away. One of them is out of date or damaged: ask the publisher for the "
                    "checksum, or take the file from elsewhere."
                )
            message = "it changed since its download began"
        logger.warning("%s: %s; trying again in %d s.", url, message, wait)
        time.sleep(wait)


def _receive(url, part, timeout):
    """Get what `part` lacks, or all; return whether something of it was there before."""
    have = part.stat().st_size if part.exists() and _etag(part).exists() else 0
    headers = {"Accept-Encoding": "identity"}  # a range of what is compressed is none of the file
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag := _etag(part).read_text("utf-8"):
            headers["If-Range"] = etag
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if have and response.status_code == 416:  # nothing is lacking
            return True
        response.raise_for_status()
        resumed = have > 0 and response.status_code == 206
        size = response.raw.length_remaining
        size = f"{size / 1e6:.1f} MB" if size else "of unknown size"
        logger.info("Downloading %s (%s%s).", url, "the last " if resumed else "", size)
        with part.open("ab" if resumed else "wb") as file:
            if not resumed:  # after the old bytes are gone: the tag is never another version's
                etag = response.headers.get("ETag", "")
                _etag(part).write_text("" if etag.startswith("W/") else etag, "utf-8")
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the name alone
    return resumed


def _etag(part):
    """The file beside `part` with what the server calls this version; empty if it does not."""
    return part.with_name(".etag")


def _is_final(error):
    """Whether another attempt would fare no better."""
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        return status < 500 and status not in (408, 429)  # too slow, too many
    return isinstance(error, (requests.exceptions.SSLError, requests.TooManyRedirects, ValueError))


def _in_words(error, timeout):
    if isinstance(error, requests.HTTPError):
        return f"the server answers {error.response.status_code} {error.response.reason}"
    cause = error
    while inner := cause.__cause__ or next(
        (argument for argument in cause.args if isinstance(argument, Exception)), None
    ):
        cause = inner  # requests wraps what urllib3 wraps
    if isinstance(cause, socket.gaierror):
        return f"no network, or no such host ({cause.strerror})"
    if isinstance(error, requests.exceptions.SSLError):
        return f"no secure connection ({cause})"
    if isinstance(cause, TimeoutError):
        return f"nothing came for {timeout} s"
    return str(cause)
