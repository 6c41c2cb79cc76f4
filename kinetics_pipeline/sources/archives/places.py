"""Places of archives that are not web addresses: prefixes and keys of object stores, and Hugging Face's datasets.

`s3://bucket/prefix` (also `gs://`, `az://`) is listed once, and its archives are read with the credentials of each
node's environment. `hf://datasets/OWNER/NAME/path` becomes the addresses of the files there, which are fetched over
https, with the user's token from where Hugging Face's own tools keep it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.file_names import is_video
from kinetics_pipeline.redaction import without_secrets
from kinetics_pipeline.sources.local.parts import is_archive
from kinetics_pipeline.sources.objects.videos import is_object_place, objects_below

HUGGING_FACE = "hf://datasets/"
EXAMPLE = "for example hf://datasets/OWNER/NAME/path"
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and without a byte."""
MOST_PAGES = 1000
"""Pages of a listing, of up to 1,000 files each."""


def is_place(text: str) -> bool:
    """Whether a `--source` is a place of archives. A prefix of an object store is listed to find that out.

    Raises UserError for one that is malformed or not there, WorkRemains where it cannot be reached.
    """
    if text.lower().startswith("hf://"):
        return True
    if not is_object_place(text) or "{" in text:
        return False
    names = _below(text.rstrip("/"))
    return any(map(is_archive, names)) and not any(map(is_video, names))


def archives_at(text: str) -> list[str]:
    """The addresses of the archives at a place, sorted: `https://...` or `s3://...`.

    Raises UserError where there is none or the place may not be read, WorkRemains where it cannot be reached.
    """
    place = text.rstrip("/")
    if text.lower().startswith("hf://"):
        found = _hugging_face(place)
    elif is_archive(PurePosixPath(place).name):
        found = [place]
    else:
        found = [f"{place}/{name}" for name in _below(place) if is_archive(name)]
    if not found:
        raise UserError(f"source {without_secrets(text)!r} holds no archives (.tar, .tar.gz, .tgz, .zip, or parts)")
    return sorted(found)


def typed_address(text: str) -> str:
    """The address whose host the user named with a place: it may be a private one."""
    return _endpoint() if text.lower().startswith("hf://") else text


def authorization(url: str) -> Mapping[str, str]:
    """The header that a request to Hugging Face takes; empty for another server, and without a token."""
    token = _token() if url.startswith(f"{_endpoint()}/") else ""
    return {"Authorization": f"Bearer {token}"} if token else {}


def _below(place: str) -> tuple[str, ...]:
    """The names of the objects below a prefix; that of the object itself where the place is one."""
    if is_archive(PurePosixPath(place).name):
        return (PurePosixPath(place).name,)
    return tuple(name for name in objects_below(place) if not PurePosixPath(name).name.startswith("._"))


def _hugging_face(place: str) -> list[str]:
    shown = place[:200]
    parts = re.fullmatch(r"hf://datasets/([\w.-]+)/([\w.-]+)(?:@([\w.-]+))?(?:/(.*))?", place, re.IGNORECASE)
    if parts is None or ".." in place.split("/"):
        raise UserError(f"source {shown!r} is not a dataset of Hugging Face; {EXAMPLE}")
    owner, name, revision, path = parts[1], parts[2], parts[3] or "main", (parts[4] or "").strip("/")
    files = f"{_endpoint()}/datasets/{owner}/{name}/resolve/{revision}/"
    if is_archive(PurePosixPath(path).name):
        return [files + quote(path)]
    tree = f"{_endpoint()}/api/datasets/{owner}/{name}/tree/{revision}"
    url = f"{tree}/{quote(path)}?recursive=true" if path else f"{tree}?recursive=true"
    return [files + quote(one) for one in _listing(url, shown) if is_archive(PurePosixPath(one).name)]


def _listing(url: str, shown: str) -> Iterator[str]:
    """The files of a repository, page by page (https://huggingface.co/docs/hub/api)."""
    for _ in range(MOST_PAGES):
        try:
            answer = requests.get(url, headers=dict(authorization(url)), timeout=TIMEOUT)
        except requests.RequestException as error:
            raise WorkRemains(f"source {shown!r} cannot be reached ({type(error).__name__}); try again") from None
        if answer.status_code in (401, 403):
            raise UserError(
                f"source {shown!r}: access is refused ({answer.status_code}); set HF_TOKEN, and accept the terms on "
                "the dataset's page where it is gated"
            )
        if answer.status_code == 404:
            raise UserError(f"source {shown!r}: there is no such dataset or folder (404)")
        if answer.status_code != 200:
            raise WorkRemains(f"source {shown!r}: the server answered {answer.status_code}; try again")
        yield from _files_of(answer, shown)
        following = answer.links.get("next", {}).get("url", "")
        if not following.startswith(f"{_endpoint()}/"):  # also one that would take the token elsewhere
            return
        url = following


def _files_of(answer: requests.Response, shown: str) -> list[str]:
    try:
        entries: Any = answer.json()
        return [str(one["path"]) for one in entries if one["type"] == "file"]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"source {shown!r}: the server's listing cannot be read") from None


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _token() -> str:
    """The user's token, as huggingface_hub finds it: HF_TOKEN, else the file that `hf auth login` writes."""
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    file = Path(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return token if token.isascii() and token.isprintable() else ""


def bucket_and_key(url: str) -> tuple[str, str]:
    """`s3://bucket/a/b` -> `s3://bucket`, `a/b`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", url.partition("://")[2].partition("/")[2]
