"""From a video file to frames on a fixed grid, and to a kept segment.

In: any file that ffmpeg reads. Out: uint8 [T, H, W, 3] (`read_clip`), the same frames one after the other for videos
of any length (`read_frames`), or an mp4 of the clip (`segment`). Begin with `frames`, then `decoding`, one attempt and
its verdict. `container` says what a file is, `cut` which part is wanted, `packets` and `clock` when its pictures are
shown, `grid_report`, `shapes` and `rotation` whether all of them came out right, `ffmpeg` runs the program.
"""

from kinetics_pipeline.video.frames import read_clip, read_frames

__all__ = ["read_clip", "read_frames"]
