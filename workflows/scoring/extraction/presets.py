"""The layouts of features that others expect, as one table of data, and what is asked made of one and of flags.

Sources: v-iashin/video_features (`extract_i3d.py`), happyharrycn/actionformer_release (its THUMOS and ActivityNet
features), yabufarha/ms-tcn (data of Breakfast, 50Salads and GTEA), piergiaj/pytorch-i3d (`extract_features.py`), and
the ten-crop features of weakly supervised anomaly detection (tianyu0207/RTFM).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.windows import Ends, Position, Steps, Windows

Per = Literal["window", "step"]
Order = Literal["tc", "ct"]
Rate = float | Literal["native"]
PresetName = Literal["video-features", "actionformer-thumos", "actionformer-anet", "ms-tcn", "pytorch-i3d", "ten-crop"]

OUR_FILES = {
    "rgb": "{stem}_rgb.npy",
    "flow": "{stem}_flow.npy",
    "joined": "{stem}.npy",
    "times": "{stem}_times.npy",
}
"""What a file holds -> its name. `joined` are both streams side by side, or a network that takes both."""
OF_VIDEO_FEATURES = {
    "rgb": "{stem}_rgb.npy",
    "flow": "{stem}_flow.npy",
    "fps": "{stem}_fps.npy",
    "timestamps_ms": "{stem}_timestamps_ms.npy",
    "times": "times/{stem}.npy",
}
JOINED = {"joined": "{stem}.npy", "times": "times/{stem}.npy"}


@dataclass(frozen=True)
class Layout:
    """Which rows there are, and how they lie in files."""

    fps: Rate = 25
    """Frames a second that a video is brought to; "native": as many as its header says."""
    window: int = 64
    step: int = 64
    position: Position = "start"
    ends: Ends = "drop"
    extra: int = 0
    """Frames that must follow a window: one where flow of the last frame has to be that to a next one."""
    per: Per = "window"
    """Per step the network sees the whole video, and a row is one of its time steps."""
    crops: Literal[1, 10] = 1
    order: Order = "tc"
    """"tc" is [rows, columns], "ct" [columns, rows]."""
    concat: bool = False
    """Whether RGB and flow lie side by side in one file."""
    places: bool = False
    """Whether rows have the shape [1, 1, columns] at their end, places of a picture that was averaged."""
    one_stream: bool = False
    """Whether a file has no stream in its name, so that a run takes one."""
    files: Mapping[str, str] = field(default_factory=lambda: OUR_FILES)

    def cutting(self) -> Windows | Steps:
        """How a video is cut into rows."""
        if self.per == "step":
            return Steps()
        return Windows(self.window, self.step, self.position, self.ends, self.extra)


PRESETS: Mapping[PresetName, Layout] = {
    "video-features": Layout(fps="native", extra=1, files=OF_VIDEO_FEATURES),
    "actionformer-thumos": Layout(fps="native", window=16, step=4, concat=True, files=JOINED),
    "actionformer-anet": Layout(
        window=16, step=16, concat=True, files={"joined": "v_{stem}.npy", "times": "times/v_{stem}.npy"}
    ),
    "ms-tcn": Layout(fps=15, window=21, step=1, position="centre", ends="zero", order="ct", concat=True, files=JOINED),
    "pytorch-i3d": Layout(
        fps="native",
        per="step",
        places=True,
        one_stream=True,
        files={"rgb": "{stem}.npy", "flow": "{stem}.npy", "joined": "{stem}.npy", "times": "times/{stem}.npy"},
    ),
    "ten-crop": Layout(fps="native", window=16, step=16, crops=10),
}


def layout_of(like: PresetName | None, asked: Mapping[str, Any]) -> Layout:
    """A preset's layout, or ours, with what is asked in place of its own.

    Raises UserError for what does not go together.
    """
    base = PRESETS[like] if like is not None else Layout()
    values = {name: value for name, value in asked.items() if value is not None}
    if values.get("concat") is True and "joined" not in base.files:
        raise UserError(f"--concat is given with --like {like}, whose files are one a stream")
    if base.concat and values.get("concat") is False:
        raise UserError(f"--no-concat is given with --like {like}, whose file is one a video")
    layout = Layout(**{**vars(base), **values})
    if layout.per == "step" and ({"window", "step", "position", "ends"} & values.keys()):
        flag = min({"window", "step", "position", "ends"} & values.keys())
        raise UserError(f"--{flag} is given with --per step, by which the network sees the whole video at once")
    if layout.places and layout.crops != 1:
        layout = replace(layout, places=False)
    if layout.order == "ct" and layout.crops != 1:
        raise UserError("--order is ct, and --crops 10; allowed: tc, where rows have more than one axis")
    return layout


def file_name(template: str, stem: str) -> str:
    """The name of a video's file. ActivityNet's `v_` is not doubled where the video's own name begins with it."""
    if "v_{stem}" in template:
        stem = stem.removeprefix("v_")
    return template.replace("{stem}", stem)


def as_record(layout: Layout) -> dict[str, Any]:
    """A layout as JSON-able data."""
    return asdict(layout) | {"files": dict(layout.files)}
