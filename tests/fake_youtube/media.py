"""Small video files as YouTube serves them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg


def render_indexed(
    path: Path, width: int, height: int, seconds: float, indexed: bool = True, of_all: bool = True
) -> Path:
    """A fragmented MP4, a key frame every second and an index (`sidx`) at its start, as YouTube's are; without
    `indexed` a plain one, without `of_all` one with an index for each fragment. Bytes repeat."""
    flags = "+dash+frag_keyframe+empty_moov+default_base_moof" if indexed else "+faststart"
    flags += "+global_sidx" if indexed and of_all else ""
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


def render_tone(path: Path, seconds: float, begins: float, indexed: bool = True) -> Path:
    """Sound alone, as YouTube has it: silence, and from second `begins` on 440 Hz; fragments of about five seconds and
    an index, or without `indexed` a plain file."""
    flags = "+dash+global_sidx+empty_moov+default_base_moof" if indexed else "+faststart"
    tone = f"aevalsrc='if(gte(t,{begins}),0.5*sin(2*PI*440*t),0)':s=44100:d={seconds}"
    pieces = ("-frag_duration", "5000000") if indexed else ()
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-v", "error", "-y", "-f", "lavfi", "-i", tone, "-c:a", "aac", "-b:a", "128k", *pieces),
            *("-movflags", flags, "-f", "mp4", str(path)),
        ],
        check=True,
    )
    return path


def cut_into_fragments(path: Path, folder: Path, seconds: float = 1.0) -> list[Path]:
    """The pictures of a file in MPEG-TS fragments, as they are (no picture is coded again), the way HLS brings them."""
    folder.mkdir(parents=True, exist_ok=True)
    playlist = folder / "list.m3u8"
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-v", "error", "-y", "-i", str(path), "-c", "copy", "-f", "hls", "-hls_time", str(seconds)),
            *("-hls_list_size", "0", "-hls_segment_filename", str(folder / "%04d.ts"), str(playlist)),
        ],
        check=True,
    )
    return sorted(folder.glob("*.ts"))
