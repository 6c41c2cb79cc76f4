"""Copies as data: for each version of Kinetics the lists of its archives, what replaces what, and the terms.

The addresses are those of https://github.com/cvdfoundation/kinetics-dataset, from which torchvision and fiftyone fetch.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.archives.places import is_place
from kinetics_pipeline.sources.local.parts import is_archive

PUBLIC_COPY = "https://s3.amazonaws.com/kinetics"
"""The addresses of CVDF's copy begin with this; `--mirror` replaces it, also inside lists."""
CVDF = "cvdf"
MAX_ADDRESSES = 100_000
"""The most addresses of one list; the longest published has 1,400."""


@dataclass(frozen=True)
class Copy:
    """One version in a copy."""

    lists: tuple[tuple[str, str], ...]
    """Each split, and the address of the list of its archives."""
    replacements: tuple[tuple[str, str], ...] = ()
    """Archives whose videos go before those of the lists: (the splits they belong to, address)."""
    terms: str = ""


TERMS = "videos: the copy that CVDF hosts for researchers; they belong to those who uploaded them"


def _lists(folder: str, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (split, f"{PUBLIC_COPY}/{folder}/{split}/{name}_{split}_path.txt") for split in ("train", "val", "test")
    )


COPIES: dict[str, Copy] = {
    "kinetics-400": Copy(
        _lists("400", "k400"),
        replacements=(("train val", f"{PUBLIC_COPY}/400/replacement_for_corrupted_k400.tgz"),),
        terms=TERMS,
    ),
    "kinetics-600": Copy(_lists("600", "k600"), terms=TERMS),
    # The archives of 700-2020 hold the videos of 700, too: the copy's README of 2020 (revision 1bdf94b).
    "kinetics-700": Copy(_lists("700_2020", "k700_2020"), terms=TERMS),
    "kinetics-700-2020": Copy(_lists("700_2020", "k700_2020"), terms=TERMS),
}


@dataclass(frozen=True)
class Address:
    """The address of one archive, or of a part of one."""

    url: str
    """Quoted, as it is asked for."""
    replaces: bool = False
    """Whether its videos go before those of other archives."""

    @property
    def name(self) -> str:
        """The last part of its path, as a file's name: it may be anyone's text."""
        named = re.sub(r"[^\w .()'-]", "_", posixpath.basename(unquote(urlsplit(self.url).path)))
        return named.lstrip(".")[-200:] or "archive"


def mirrored(url: str, mirror: str | None) -> str:
    """The address, below `mirror` where it is one of the public copy's."""
    if mirror is None or not url.startswith(PUBLIC_COPY + "/"):
        return url
    return mirror.rstrip("/") + url.removeprefix(PUBLIC_COPY)


def canonical(url: str, mirror: str | None) -> str:
    """The address without the mirror: what tells an archive from others, whichever copy it is taken from."""
    base = (mirror or PUBLIC_COPY).rstrip("/") + "/"
    return PUBLIC_COPY + "/" + url.removeprefix(base) if url.startswith(base) else url


def is_copy(text: str) -> bool:
    """Whether a `--source` names archives that have to be fetched: a copy by name, an http(s) address of an archive or
    of a list of archives, a place (`places`), which is listed. Raises UserError, WorkRemains."""
    if text.lower() == CVDF or is_place(text):
        return True
    if not text.lower().startswith(("http://", "https://")) or "{" in text:
        return False
    try:
        path = urlsplit(text).path
    except ValueError:
        return False
    return is_archive(posixpath.basename(unquote(path))) or path.lower().endswith(".txt")


def is_list(url: str) -> bool:
    return urlsplit(url).path.lower().endswith(".txt")


def lists_of(name: str, splits: Sequence[str] | None) -> tuple[list[str], list[Address]]:
    """The lists of a version's archives and its replacements, of the splits asked for (None: of all).

    Raises UserError for a version that the copy does not have.
    """
    copy = COPIES.get(name.lower())
    if copy is None:
        raise UserError(f"--source cvdf has no {name}; allowed: {', '.join(COPIES)}")
    lists = [url for split, url in copy.lists if splits is None or split in splits]
    replacements = [
        Address(url, replaces=True)
        for belongs, url in copy.replacements
        if splits is None or set(belongs.split()) & set(splits)
    ]
    return lists, replacements


def addresses_in(text: str, where: str, mirror: str | None) -> list[Address]:
    """The archives that a list names: addresses, or names of files beside the list, one a line; a line may hold several
    addresses. `where`: the list's address. Raises UserError for a line that is not an address of an archive."""
    found: list[Address] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        for one in re.split(r"\s+(?=https?://)", line, flags=re.IGNORECASE):
            if len(found) == MAX_ADDRESSES:
                raise UserError(f"list {where} has more than {MAX_ADDRESSES:,} addresses")
            beside = re.match(r"[a-z][a-z0-9+.-]*:|/", one, re.IGNORECASE) is None and is_archive(one)
            url = quoted(mirrored(urljoin(where, quote(one, safe="/%~")) if beside else one, mirror))
            if url is None or not is_archive(Address(url).name):
                raise UserError(f"list {where}, line {number}: {one[:80]!a} is not an http(s) address of an archive")
            found.append(Address(url, replaces="replacement" in Address(url).name.lower()))
    return list(dict.fromkeys(found))


def quoted(url: str) -> str | None:
    """An http(s) address with its blanks, parentheses and other letters percent-encoded; None for what is none."""
    url = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", url)
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            return None
        _ = parts.port
    except ValueError:
        return None
    return urlunsplit(parts._replace(path=quote(parts.path, safe="/%~"), query=quote(parts.query, safe="=&%+,/:~")))
