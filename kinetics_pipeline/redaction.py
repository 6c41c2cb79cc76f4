"""Text as it may be shown and kept: URLs without accounts and queries, and nothing that acts on a terminal."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

WITHHELD = "WITHHELD"
"""Stands where a secret may have stood, so that who reads it knows what to put back."""


def visible(text: str) -> str:
    """The text with control and bidirectional characters, and all others that are not printed, as escapes.

    >>> visible("a\x1b[2Jb\u202ec")
    'a\\x1b[2Jb\\u202ec'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


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
