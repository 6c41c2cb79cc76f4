"""What a user may say about downloading. Plain data inside every network source: it travels to the child process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kinetics_pipeline.errors import UserError

ACCESS = frozenset({"private", "age_restricted", "members_only"})
"""What cookies can open, and what stays refused unless it is allowed by name."""

NUMBER = (int, float)
PASSED_OPTIONS: Mapping[str, type | tuple[type, ...]] = {
    "age_limit": int,
    "check_formats": bool,
    "compat_opts": list,
    "concurrent_fragment_downloads": int,
    "dynamic_mpd": bool,
    "extractor_args": dict,
    "extractor_retries": int,
    "file_access_retries": int,
    "format": str,
    "format_sort": list,
    "format_sort_force": bool,
    "fragment_retries": int,
    "geo_bypass": bool,
    "geo_bypass_country": str,
    "geo_bypass_ip_block": str,
    "geo_verification_proxy": str,
    "hls_split_discontinuity": bool,
    "http_headers": dict,
    "legacyserverconnect": bool,
    "nocheckcertificate": bool,
    "prefer_free_formats": bool,
    "prefer_insecure": bool,
    "retries": int,
    "sleep_interval_requests": NUMBER,
    "socket_timeout": NUMBER,
    "source_address": str,
}
"""The options of yt-dlp that a user may set, and the JSON they take. The others run programs (`exec_cmd`,
`external_downloader`), write files elsewhere (`outtmpl`, `paths`, `writeinfojson`), read the user's browser or keys
(`cookiesfrombrowser`, `netrc_cmd`), or are the pipeline's own to set. A list of what is harmless stays right when
yt-dlp gains an option."""
SECRET_OPTIONS = frozenset(
    {"extractor_args", "geo_bypass_ip_block", "geo_verification_proxy", "http_headers", "source_address"}
)
"""Those of the options whose values may hold a password, a token or an address."""


_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
REFUSED_HEADERS = ("cookie", "authorization", "x-goog-", "x-youtube-", "x-origin")
"""How headers begin that speak for an account: an account comes with `--cookies`, which `--allow-access` bounds."""


@dataclass(frozen=True)
class SourceOptions:
    """Options of the network sources."""

    short_side: int = 256
    """The recipe's: YouTube's smallest format that is at least so large is taken."""
    cookies: str | None = field(default=None, repr=False)
    """The text of a Netscape cookie file (not its path: nodes share no disk). Never stored."""
    proxy: str | None = field(default=None, repr=False)
    ytdlp_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Handed to yt-dlp as they are; of `PASSED_OPTIONS`."""
    sound: bool = False
    """Whether the sound is wanted too, where a source has it apart from the pictures."""
    allow_access: frozenset[str] = frozenset()
    """Kinds of restricted videos to fetch as well, from `ACCESS`."""
    allow_private_addresses: bool = False
    timeout: float = 20.0
    """Seconds without a byte."""
    max_filesize: int = 2 << 30
    """Bytes a file may have."""

    def __post_init__(self) -> None:
        """Raises UserError for an option of yt-dlp, or a kind of access, that is not allowed."""
        for name, value in self.ytdlp_options.items():
            if name not in PASSED_OPTIONS:
                raise UserError(
                    f"--ytdlp-option {name} is refused: only options that cannot run programs, touch files or read the "
                    f"browser are handed through: {', '.join(PASSED_OPTIONS)}"
                )
            kind = PASSED_OPTIONS[name]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
                raise UserError(f"--ytdlp-option {name} is of type {type(value).__name__}; allowed: {names}")
        self._require_no_account()
        for kind_of_access in sorted(self.allow_access - ACCESS):
            raise UserError(f"--allow-access is {kind_of_access!r}; allowed: {', '.join(sorted(ACCESS))}")

    def _require_no_account(self) -> None:
        for name, value in self.ytdlp_options.get("http_headers", {}).items():
            if not (_HEADER.fullmatch(str(name).strip()) and isinstance(value, str) and value.isprintable()):
                raise UserError(
                    "--ytdlp-option http_headers holds what is not a header; allowed: names (RFC 9110), with "
                    "texts without control characters"
                )
            if str(name).strip().lower().startswith(REFUSED_HEADERS):
                raise UserError(
                    f"--ytdlp-option http_headers names {str(name)[:40]!r}, which speaks for an account; allowed: "
                    "other headers, and --cookies FILE with --allow-access"
                )
        for extractor, arguments in self.ytdlp_options.get("extractor_args", {}).items():
            if isinstance(arguments, dict) and "data_sync_id" in arguments:
                raise UserError(
                    f"--ytdlp-option extractor_args names data_sync_id of {str(extractor)[:40]!r}, which speaks for "
                    "an account; allowed: other arguments, and --cookies FILE with --allow-access"
                )
