"""How frames are made from a video. Written once into `dataset.json` and every shard; never mixed in a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from fractions import Fraction
from functools import cache
from typing import Any, Literal, get_args

import msgspec

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow.parameters import TVL1, FlowBackend

Interpolation = Literal["bilinear", "bicubic", "area", "lanczos"]
FlowMethod = Literal["tvl1", "none"]
Layout = Literal["parquet", "array", "video"]
CRF = 17
"""The rate factor by which frames take a quarter of the bytes of JPEGs (`workflows.benchmarks.layouts`)."""
_OF_VIDEO = ("crf", "encoder")
"""Fields that only a recipe of the video layout says."""


@dataclass(frozen=True)
class Recipe:
    """I3D's preprocessing by default: 25 fps, short side 256, TV-L1 (kinetics-i3d, README)."""

    fps: float = 25
    short_side: int = 256
    interpolation: Interpolation = "bilinear"
    flow: FlowMethod = "tvl1"
    flow_parameters: TVL1 = field(default_factory=TVL1)
    flow_backend: FlowBackend = "cpu"
    """Resolved once, when the dataset is created: backends differ in their last bits."""
    layout: Layout = "parquet"
    rgb_quality: int = 90
    """JPEG quality (libjpeg's scale), chroma 4:2:0; not used by the video layout."""
    flow_quality: int = 90
    chunk_length: int = 16
    """Frames a row."""
    crf: int = CRF
    """x264's rate factor, of the video layout: higher is smaller and worse."""
    encoder: str = ""
    """What encodes the video layout: others give other bytes. Resolved once, when the dataset is created."""

    def __post_init__(self) -> None:
        if self.layout == "video" and not self.encoder:
            object.__setattr__(self, "encoder", installed_encoder())
        allowed = (
            ("fps", 0 < self.fps <= 240, "more than 0 and at most 240"),
            ("short_side", 16 <= self.short_side <= 4096, "16 to 4096"),
            ("rgb_quality", 1 <= self.rgb_quality <= 100, "1 to 100"),
            ("flow_quality", 1 <= self.flow_quality <= 100, "1 to 100"),
            ("chunk_length", 1 <= self.chunk_length <= 1024, "1 to 1024"),
            ("crf", 1 <= self.crf <= 51, "1 to 51"),
            ("crf", self.layout == "video" or self.crf == CRF, f"{CRF} unless the layout is video"),
        )
        named = (
            ("interpolation", Interpolation),
            ("flow", FlowMethod),
            ("flow_backend", FlowBackend),
            ("layout", Layout),
        )
        for name, choices in named:
            if getattr(self, name) not in get_args(choices):
                raise UserError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(get_args(choices))}")
        for name, right, range_ in allowed:
            if not right:
                raise UserError(f"{name} is {getattr(self, name)}; allowed: {range_}")

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON-able data. What only the video layout says is left out of others: their bytes stay."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_VIDEO or self.layout == "video"}

    def stored_as(self, layout: Layout) -> Recipe:
        """The same frames and flow in another layout, with its own qualities."""
        return self if layout == self.layout else replace(self, layout=layout, crf=CRF, encoder="")

    @classmethod
    def from_json(cls, document: Any) -> Recipe:
        """Raises ValueError for what no recipe says, UserError for a value outside its range."""
        try:
            named = msgspec.convert(document, dict[str, Any])
            if unknown := sorted(named.keys() - {f.name for f in fields(cls)}):
                raise ValueError(f"a recipe has no {unknown[0]!r}")
            if named.get("layout") == "video" and not named.get("encoder"):
                raise ValueError("a recipe of the video layout names its encoder")
            msgspec.convert({"encoder": "", **named}, cls)  # for the types; numbers stay as written, 25 and not 25.0
            return cls(**{**named, "flow_parameters": TVL1(**named["flow_parameters"])})
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None

    def require_same(self, other: Recipe) -> None:
        """Raises UserError that names the first field in which `other` (what is asked now) differs."""
        for f in fields(self):
            mine, asked = getattr(self, f.name), getattr(other, f.name)
            if mine != asked:
                what = "install that one" if f.name == "encoder" and asked else "ask for the same"
                raise UserError(
                    f"{f.name} is {asked}, but this dataset was made with {mine}; "
                    f"a dataset has one recipe: {what}, or give another --output"
                )


@cache
def installed_encoder() -> str:
    """What encodes the video layout here: PyAV, its x264 and the library that converts colours.

    Raises UserError where PyAV cannot encode H.264.
    """
    import av

    try:
        context = av.CodecContext.create("libx264", "w")
    except (ValueError, av.FFmpegError):
        raise UserError(f"PyAV {av.__version__} has no libx264, which the video layout needs") from None
    context.width, context.height, context.pix_fmt, context.time_base = 16, 16, "yuv420p", Fraction(1, 25)
    packets = [*context.encode(av.VideoFrame(16, 16, "yuv420p")), *context.encode(None)]
    _, _, told = b"".join(map(bytes, packets)).partition(b"x264 - core ")  # x264 writes its version into each stream
    x264 = told.partition(b" - ")[0].decode("ascii", "replace")
    scale = ".".join(map(str, av.library_versions["libswscale"]))
    return f"PyAV {av.__version__}, x264 core {x264}, libswscale {scale}"


def uses_gpu(recipe: Recipe) -> bool:
    """Whether clips are processed on GPUs."""
    return recipe.flow != "none" and recipe.flow_backend == "cuda"
