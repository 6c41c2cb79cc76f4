"""Text as it may be shown and kept: URLs without accounts and queries, nothing that acts on a terminal or in a page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_LEFT = ' style="text-align:left"'
WITHHELD = "WITHHELD"
"""Stands where a secret may have stood, so that who reads it knows what to put back."""


def visible(text: str) -> str:
    r"""The text with control and bidirectional characters, and all others that are not printed, as escapes.

    >>> visible("a\x1b[2Jb\u202ec")
    'a\\x1b[2Jb\\u202ec'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def counted(count: float, thing: str, things: str | None = None) -> str:
    """A number with its noun, in the singular or the plural. `things`: what stands behind any number but 1, where that
    is more than the noun's plural.

    >>> counted(1, "retry"), counted(2, "retry"), counted(3, "day"), counted(1200, "clip is", "clips are")
    ('1 retry', '2 retries', '3 days', '1,200 clips are')
    """
    if count == 1:
        return f"1 {thing}"
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {_plural(thing) if things is None else things}"


def _plural(noun: str) -> str:
    if noun.endswith("y") and not noun.endswith(("ay", "ey", "oy", "uy")):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def html_table(title: str, rows: Iterable[Iterable[Any]], heads: Iterable[str] = ()) -> str:
    """A table as notebooks show it: all texts are escaped, so that none of them is markup.

    >>> html_table("a<b", [])
    '<div>a&lt;b</div><table></table>'
    """
    head = "".join(f"<th{_LEFT}>{_shown_in_html(name)}</th>" for name in heads)
    cells = [list(row) for row in rows]
    columns = max(map(len, cells), default=1)
    body = "".join(f"<tr>{_row_in_html(row, columns)}</tr>" for row in cells)
    return f"<div>{_shown_in_html(title)}</div><table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _row_in_html(row: list[Any], columns: int) -> str:
    """The cells; the last one reaches to the end of the table."""
    spans = [1] * (len(row) - 1) + [columns - len(row) + 1]
    return "".join(
        f"<td{_LEFT}{f' colspan={span}' if span > 1 else ''}>{_shown_in_html(cell)}</td>"
        for cell, span in zip(row, spans, strict=True)
    )


def _shown_in_html(value: Any) -> str:
    return escape(visible(str(value)))


def without_secrets(text: str) -> str:
    """A URL or URL template with its account and the values of its query withheld, but for what is filled in from a
    clip; any other text as it is.

    >>> without_secrets("https://me:pw@host/get?id={video_id}&token=abc#x"), without_secrets("/data/a?b=c")
    ('https://WITHHELD@host/get?id={video_id}&token=WITHHELD', '/data/a?b=c')
    """
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "(a malformed URL)"
    account, at, host = parts.netloc.rpartition("@")
    query = "&".join(_plain(pair) for pair in parts.query.split("&")) if parts.query else ""
    return urlunsplit((parts.scheme, f"{WITHHELD}{at}{host}" if account else host, parts.path, query, ""))


def _plain(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return pair if "{" in pair else WITHHELD
    return pair if "{" in value else f"{name}={WITHHELD}"
