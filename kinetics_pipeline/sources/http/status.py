"""What an HTTP status means when a file was asked for."""

from __future__ import annotations

from http import HTTPStatus

from kinetics_pipeline.sources.base import Failure

MEDIA_REFUSED = "the media server answered HTTP 403 Forbidden"
"""A signed URL is refused: only another extraction helps. Many of them at once: this address, or the extractor."""


def from_status(status: int, wait: float | None, whose: str) -> Failure:
    """The failure that an HTTP status of 400 or more means. `wait`: the seconds of its Retry-After header.

    `whose`: "youtube" for a signed media URL, which refuses for reasons of its own (extract again); anything else is
    a server that has the file or not. There 401 and 403 are `private`: credentials might change it, asking again does
    not (object stores also answer 403 for a key that is not there). 451 is a legal block where we are (RFC 7725).
    """
    answer = f"HTTP {status} {phrase(status)}".strip()
    if status == 429 or (status == 503 and wait is not None):
        return Failure("throttled", f"{answer}: asked to slow down", wait=wait)
    if whose == "youtube":
        return Failure("network", MEDIA_REFUSED if status == 403 else f"the media server answered {answer}")
    if status in (404, 410):
        return Failure("not_found", answer)
    if status in (401, 403):
        return Failure("private", answer)
    if status == 451:
        return Failure("geo_blocked", answer)
    return Failure("network", answer)


def phrase(status: int) -> str:
    """The status in words ("Not Found"); empty for one that no standard names."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
