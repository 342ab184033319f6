"""Downloads into a cache shared by all fleets: files from URLs, resumed where they broke off, and wheels by pip."""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from data.errors import FetchError

ATTEMPTS = 5  # of a transfer that breaks off
TIMEOUT = (10, 60)  # seconds to connect, and between bytes
BLOCK = 1 << 16  # bytes; what a broken transfer loses at most


def download(url: str, cache: Path) -> Path:
    """The file at `url`, from the cache or the network."""
    folder = _folder(cache, url)
    path = folder / (PurePosixPath(unquote(urlsplit(url).path)).name or "download")
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (path.name + ".part")
    try:
        with requests.Session() as session:
            retry = Retry(total=3, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504])
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.mount("https://", HTTPAdapter(max_retries=retry))
            for attempt in range(ATTEMPTS):
                try:
                    _transfer(session, url, part)
                    break
                except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError):
                    # The server broke off: what came is kept and the rest asked for. Without a byte it is no use.
                    if attempt == ATTEMPTS - 1 or not part.exists():
                        raise
    except requests.exceptions.RequestException as error:
        raise FetchError(_reason(error)) from error
    part.replace(path)
    _mark(part).unlink(missing_ok=True)
    return path


def _transfer(session: requests.Session, url: str, part: Path) -> None:
    """Bring `part` to its full length. Beside it stands which version of the remote file it is a part of."""
    mark = _mark(part)
    have = part.stat().st_size if part.exists() and mark.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": json.loads(mark.read_text("utf-8"))}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing is left to send
            return
        response.raise_for_status()
        resumed = response.status_code == 206
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if version and not version.startswith("W/"):  # a weak tag does not promise equal bytes
            mark.write_text(json.dumps(version), "utf-8")
        else:
            mark.unlink(missing_ok=True)
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        bar = tqdm(
            desc=part.stem,
            total=done + int(length) if length else None,
            initial=done,
            unit="B",
            unit_scale=True,
            disable=None,
        )
        with bar, part.open("ab" if resumed else "wb") as file:
            for block in response.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))


def _mark(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _reason(error: requests.exceptions.RequestException) -> str:
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    return f"{type(error).__name__}: {error}"


def download_wheel(requirement: str, cache: Path) -> Path:
    """The wheel of `requirement`, from the cache or the package index that the user's pip is set to."""
    folder = _folder(cache, requirement)
    if not list(folder.glob("*.whl")):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            target = Path(scratch) / "wheel"
            # Wheels only: a source distribution would run its own code to be built.
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(target)]
            done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                raise FetchError(f"pip download failed: {(lines or [done.stderr.strip()])[-1]}")
            target.replace(folder)
    return next(folder.glob("*.whl"))


def forget(source: str, cache: Path) -> None:
    """Remove a download that proved wrong, so that the next run tries afresh; the part of an unfinished one stays."""
    for path in _folder(cache, source).glob("*"):
        if path.suffixes[-1:] != [".part"] and path.suffixes[-2:] != [".part", ".json"]:
            path.unlink()


def _folder(cache: Path, source: str) -> Path:
    return cache / "downloads" / hashlib.sha256(source.encode()).hexdigest()[:16]
