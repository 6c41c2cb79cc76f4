"""What is kept of a config, without secrets: the record in a dataset or run, and the command to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from kinetics_pipeline.redaction import WITHHELD, without_secrets
from kinetics_pipeline.sources.options import PASSED_OPTIONS, SECRET_OPTIONS


def as_record(config: Any) -> dict[str, Any]:
    """A config as JSON-able data, without secrets: no accounts and queries of URLs, no values of yt-dlp options, no
    addresses of proxies."""
    record = {k: _plain(v) for k, v in asdict(config).items()}
    if "proxy" in record:
        record["proxy"] = ["(given)"] * len(config.proxy)
    if "ytdlp_option" in record:
        record["ytdlp_option"] = [pair.partition("=")[0] for pair in config.ytdlp_option]
    for name in ("cookies", "notify"):  # the command may have an address with a token in it
        if record.get(name):
            record[name] = "(given)"
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return without_secrets(value) if isinstance(value, str) else value


def command_line(command: str, arguments: Sequence[str], config: Any, *, kept: bool = False) -> str:
    """The command that does the same again, to be copied into a shell: what differs from the defaults. Where a secret
    stood it says so. `kept`: for the dataset, where the place of the cookies and the addresses of proxies have no
    business either."""
    words = ["kinetics-pipeline", command, *map(without_secrets, arguments)]
    for f in fields(config):
        value = getattr(config, f.name)
        if f.default is not MISSING and value == f.default:
            continue
        flag = "--" + f.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [flag, _shown(f.name, str(one), kept=kept)]
    return shlex.join(words)


def _shown(name: str, value: str, *, kept: bool) -> str:
    if name == "ytdlp_option":
        return shown_option(value)
    if name == "notify":
        return WITHHELD
    if name == "proxy":
        return "HOST:PORT" if kept else shown_proxy(value)
    return "FILE" if kept and name == "cookies" else without_secrets(value)


def shown_proxy(value: str) -> str:
    return without_secrets(value if "://" in value else f"http://{value}")


def shown_option(pair: str) -> str:
    """KEY=JSON, its value withheld where it may hold a password, a token or an address."""
    key, equals, _ = pair.partition("=")
    if not equals or not key.isidentifier():
        return "..."
    return pair if key in PASSED_OPTIONS and key not in SECRET_OPTIONS else f"{key}={WITHHELD}"
