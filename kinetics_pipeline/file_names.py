"""What a file's name says: whether it is a video, whether a download has finished it, and when two names are the same.

One list for the annotations, which name files, and for the sources, which hold them.
"""

from __future__ import annotations

import os
import unicodedata

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".flv", ".wmv",
    ".asf", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".ogv", ".ogg",
    ".ogm", ".mxf", ".nut", ".dv", ".rm", ".rmvb", ".gif", ".ivf", ".y4m", ".wtv", ".amv", ".nsv", ".h264",
    ".264", ".h265", ".265", ".hevc", ".obu", ".mjpeg", ".mjpg",
))
OTHER_SUFFIXES = frozenset((
    ".txt", ".md", ".rst", ".log", ".pdf", ".html", ".htm", ".xml", ".json", ".jsonl", ".csv", ".tsv", ".yaml",
    ".yml", ".toml", ".ini", ".cfg", ".py", ".sh", ".ipynb", ".srt", ".vtt", ".ass", ".ssa", ".sub", ".lrc",
    ".description", ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".svg", ".ico", ".wav", ".mp3",
    ".m4a", ".aac", ".flac", ".opus", ".oga", ".wma", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".h5",
    ".hdf5", ".mat", ".lmdb", ".parquet", ".arrow", ".db", ".tar", ".gz", ".tgz", ".zip", ".bz2", ".xz", ".7z",
    ".rar", ".md5", ".sha1", ".sha256", ".torrent", ".bak", ".lock", ".ds_store",
))
# fmt: on
"""Suffixes of files that often lie beside a video and are none; any other suffix may be a video's."""
UNFINISHED = frozenset({".part", ".tmp", ".temp", ".ytdl", ".crdownload", ".download", ".partial", ".aria2"})


def is_passed_over(name: str) -> bool:
    """Whether a file is hidden (`._name`, which macOS adds, too), or one that a download has not finished."""
    return name.startswith(".") or _suffix(name) in UNFINISHED


def is_video(name: str) -> bool:
    """Whether the name ends as a video's."""
    return _suffix(name) in VIDEO_SUFFIXES


def without_video_suffix(path: str) -> str:
    """The path without the suffix of a video; other dots belong to the name, as in `abc_000001.500_000003`."""
    return os.path.splitext(path)[0] if is_video(path) else path


def without_unknown_suffix(path: str) -> str | None:
    """The path without a suffix that is neither a video's nor another known kind's; None where it has no such one."""
    root, suffix = os.path.splitext(path)
    suffix = suffix.lower()
    known = suffix in VIDEO_SUFFIXES or suffix in OTHER_SUFFIXES or suffix in UNFINISHED
    # A suffix has a letter: `.500` is part of a time.
    return None if known or not any(map(str.isalpha, suffix)) else root


def normalised(name: str) -> str:
    """One spelling for all that look the same: macOS writes `é` as two characters (NFD), others as one (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
