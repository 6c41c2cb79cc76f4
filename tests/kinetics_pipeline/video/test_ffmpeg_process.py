"""ffmpeg gets an environment of its own, and its parent watches what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinetics_pipeline.video import ffmpeg


def program(folder: Path, script: str) -> list[str]:
    """The command line of a shell script in the place of ffmpeg."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return [str(path)]


def read(command: list[str], timeout: float = 60.0) -> bytes:
    with ffmpeg.running(command, timeout) as run:
        return run.stdout.read()


def test_no_key_or_token_is_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "GITHUB_TOKEN", "LD_PRELOAD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = dict(line.split("=", 1) for line in read(program(tmp_path, "env")).decode().splitlines())
    assert found["TMPDIR"] == str(tmp_path)
    assert found.keys() <= {*ffmpeg.ENVIRONMENT, "PWD", "OLDPWD", "SHLVL", "_"}  # the shell's own


def test_one_that_takes_too_much_memory_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MOST_MEMORY", 1 << 10)
    monkeypatch.setattr(ffmpeg, "_WATCH_EVERY", 0.01)
    with pytest.raises(TimeoutError, match="GB of memory"):
        read(program(tmp_path, "exec sleep 60"))


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"took more than 0\.2 s"):
        read(program(tmp_path, "exec sleep 60"), timeout=0.2)
