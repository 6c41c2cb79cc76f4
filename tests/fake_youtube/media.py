"""Small video files as YouTube serves them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg


def render_indexed(path: Path, width: int, height: int, seconds: float, indexed: bool = True) -> Path:
    """A fragmented MP4, a key frame every second and an index (`sidx`) at its start, as YouTube's are; without
    `indexed` a plain one. Bytes repeat."""
    flags = "+dash+global_sidx+frag_keyframe+empty_moov+default_base_moof" if indexed else "+faststart"
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate=25:duration={seconds}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-g", "25", "-pix_fmt", "yuv420p"),
            *("-movflags", flags, str(path)),
        ],
        check=True,
    )
    return path
