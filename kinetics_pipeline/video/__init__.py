"""From a video file to frames on a fixed grid, and to a kept segment.

In: any file that ffmpeg reads. Out: uint8 [T, H, W, 3] (`read_clip`), or an mp4 of the clip (`segment`). Begin with
`frames`; `container` says what a file is, `ffmpeg` runs the program.
"""

from kinetics_pipeline.video.frames import read_clip

__all__ = ["read_clip"]
