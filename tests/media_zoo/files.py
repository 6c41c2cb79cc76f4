"""The files of the zoo: rates and containers."""

from __future__ import annotations

from tests.builders.videos import H264
from tests.media_zoo.entry import Entry, Shown
from tests.media_zoo.odd_files import ODD
from tests.media_zoo.rendering import at_times, copied, encoded
from tests.media_zoo.rewritten import REWRITTEN

VP8 = ("-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime", "-cpu-used", "8")
VP9 = ("-c:v", "libvpx-vp9", "-b:v", "2M", "-deadline", "realtime", "-cpu-used", "8")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x265-params")
JPEG = ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "3")
BURST = tuple([k / 10 for k in range(10)] + [1 + k / 100 for k in range(20)] + [1.2 + k / 10 for k in range(8)])
SLIDES = (0.0, 0.4, 1.2, 4.0)

RATES = [
    encoded("rate 23.976.mp4", "rate", "opencv/opencv#4890", fps="24000/1001"),
    encoded("rate 29.97.mp4", "rate", "grizzlypeak3d/DJV#488", fps="30000/1001"),
    encoded("rate 12.5.mp4", "rate", "rust-av/Av1an#770", fps=12.5),
    encoded("rate 60.mkv", "rate", "radek-k/FFMediaToolkit#28", (*H264, "-bf", "3"), fps=60),
    encoded("rate 120.mp4", "rate", "artclarke/humble-video#146", fps=120, seconds=2.0),
    encoded("one frame a second.mp4", "rate", "imageio/imageio#176", fps=1, seconds=4),
    encoded("one frame a second.ts", "rate", "bramp/ffmpeg-cli-wrapper#122", (*H264, "-bf", "0"), fps=1, seconds=4),
    Entry("telephone.mp4", "variable rate", "Kinovea/Kinovea#154",
          at_times([k / 25 + 0.012 * (k % 3) for k in range(50)]),
          Shown(tuple(k / 25 + 0.012 * (k % 3) for k in range(50)), 2.024)),
    Entry("telephone.mkv", "variable rate", "openmpf/openmpf#1307",
          at_times([k / 25 + 0.012 * (k % 3) for k in range(50)]),
          Shown(tuple(k / 25 + 0.012 * (k % 3) for k in range(50)), 2.024)),
    Entry("screen burst.mp4", "variable rate", "sitespeedio/browsertime#1108", at_times(BURST),
          Shown(BURST, BURST[-1] + 0.04)),
    Entry("screen burst.mkv", "variable rate", "MitchSchwartz/MPE-Sound-Module#132", at_times(BURST),
          Shown(BURST, BURST[-1] + 0.04)),
    Entry("slides.mp4", "slides", "Nandaka/PixivUtil2#381", at_times(SLIDES, (*H264, "-bf", "0")), Shown(SLIDES, 4.04)),
    Entry("slides.webm", "slides", "antimatter15/whammy#28", at_times(SLIDES, VP8), Shown(SLIDES, 4.04)),
    Entry("slides.gif", "slides", "opencv/opencv#6555", at_times((0.0, 0.3, 0.7, 1.5), (), ("-final_delay", "100")),
          Shown((0.0, 0.3, 0.7, 1.5), 2.5), encoder="gif"),
]  # fmt: skip

CONTAINERS = [
    encoded("fast start.mp4", "container", "sonysuqin/WasmVideoPlayer#13", (*H264, "-movflags", "+faststart")),
    encoded("fragments.mp4", "container", "videojs/http-streaming#1363",
            (*H264, "-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
            shown=Shown(tuple(0.08 + k / 25 for k in range(50)), 2.08)),
    encoded("no edit list.mp4", "container", "mltframework/mlt#89", (*H264, "-bf", "2", "-use_editlist", "0"),
            shown=Shown(tuple(0.08 + k / 25 for k in range(50)), 2.08)),
    Entry("edit list.mp4", "container", "Vanilagy/mediabunny#315",
          copied(("-avoid_negative_ts", "disabled"), before=("-ss", 0.48), codec=(*H264, "-g", "50", "-bf", "2"),
                 seconds=3.0), Shown(tuple(k / 25 for k in range(63)), 2.52, first=12)),
    encoded("motion jpeg.mov", "container", "dirkvdb/ffmpegthumbnailer#142", JPEG),
    encoded("prores.mov", "codec", "pytorch/audio#3331", ("-c:v", "prores_ks", "-profile:v", "0")),
    encoded("rle.mov", "codec", "mpv-player/mpv#1918", ("-c:v", "qtrle")),
    encoded("alpha.mov", "codec", "PyAV-Org/PyAV#1713", ("-c:v", "png", "-pix_fmt", "rgba")),
    encoded("ffv1.mkv", "codec", "NVIDIA/VideoProcessingFramework#218", ("-c:v", "ffv1")),
    encoded("vp8.webm", "codec", "streamproc/MediaStreamRecorder#121", VP8),
    encoded("hidden references.webm", "codec", "FFMS/ffms2#88",
            ("-c:v", "libvpx", "-b:v", "300k", "-auto-alt-ref", "1", "-lag-in-frames", "20", "-cpu-used", "5")),
    encoded("superframes.webm", "codec", "FFMS/ffms2#319",
            ("-c:v", "libvpx-vp9", "-b:v", "300k", "-auto-alt-ref", "1", "-lag-in-frames", "20", "-cpu-used", "8")),
    encoded("live.webm", "container", "legokichi/ts-ebml#2", (*VP8, "-live", "1")),
    encoded("live.mkv", "container", "muaz-khan/RecordRTC#147", (*H264, "-live", "1")),
    encoded("av1.mkv", "codec", "AOMediaCodec/av1-isobmff#2", ("-c:v", "libsvtav1", "-preset", "12", "-crf", "20")),
    encoded("av1.mp4", "codec", "w3c/webcodecs#731", ("-c:v", "libsvtav1", "-preset", "12", "-crf", "20")),
    encoded("b frames.avi", "container", "PyAV-Org/PyAV#534", (*MPEG4, "-bf", "2")),
    encoded("xvid.avi", "container", "superuser404notfound/AetherEngine#516", (*MPEG4, "-bf", "2", "-vtag", "XVID")),
    encoded("h264.avi", "container", "jpsdr/x264#17", (*H264, "-bf", "2")),
    encoded("motion jpeg.avi", "container", "microsoft/FFmpegInterop#165", JPEG),
    encoded("huffyuv.avi", "codec", "VFR-maniac/L-SMASH-Works#49", ("-c:v", "huffyuv")),
    encoded("utvideo.avi", "codec", "IENT/YUView#105", ("-c:v", "utvideo")),
    encoded("divx 3.avi", "codec", "xbmc/xbmc#15196", ("-c:v", "msmpeg4", "-q:v", "3")),
    encoded("wmv2.wmv", "codec", "HandBrake/HandBrake#699", ("-c:v", "wmv2", "-q:v", "3")),
    encoded("wmv1.asf", "codec", "wseemann/FFmpegMediaMetadataRetriever#195", ("-c:v", "wmv1", "-q:v", "3")),
    encoded("mpeg1.mpg", "container", "w3c/mediacapture-record#132", ("-c:v", "mpeg1video", "-q:v", "3", "-bf", "2")),
    encoded("dvd.vob", "container", "IENT/YUView#283",
            ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-f", "vob")),
    encoded("broadcast.ts", "container", "voc/hls-relive#6", ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2")),
    encoded("camera.m2ts", "container", "JuliaIO/VideoIO.jl#185", (*H264, "-mpegts_m2ts_mode", "1", "-f", "mpegts")),
    encoded("hevc.ts", "container", "xbmc/xbmc#18038", (*X265, "log-level=none:pools=1:bframes=3")),
    encoded("sorenson.flv", "codec", "membraneframework/membrane_core#790", ("-c:v", "flv", "-q:v", "3")),
    encoded("h264.flv", "container", "theintencity/rtmplite#1", H264),
    encoded("telephone.3gp", "codec", "raspberrypi/firmware#456", ("-c:v", "h263", "-q:v", "3"),
            width=176, height=144),
    encoded("theora.ogv", "codec", "GoogleChromeLabs/webm-wasm#9", ("-c:v", "libtheora", "-q:v", "7")),
    encoded("broadcast.mxf", "container", "CasparCG/server#392", ("-c:v", "mpeg2video", "-q:v", "3")),
    encoded("nut.nut", "container", "cisco/openh264#2958", H264),
    encoded("vp8.ivf", "container", "OpenVisualCloud/SVT-VP9#13", VP8),
    encoded("raw.y4m", "container", "fraunhoferhhi/vvenc#154", ("-c:v", "rawvideo", "-pix_fmt", "yuv420p")),
    encoded("raw.h264", "container", "BililiveRecorder/BililiveRecorder#627", (*H264, "-bf", "2")),
    encoded("raw.hevc", "container", "mpeg5/ffevc#165", (*X265, "log-level=none:pools=1")),
    encoded("camera.dv", "codec", "HandBrake/HandBrake#6694",
            ("-c:v", "dvvideo", "-pix_fmt", "yuv420p"), width=720, height=576, seconds=2.0),
    encoded("real.rm", "codec", "bilibili/ijkplayer#584", ("-c:v", "rv20", "-q:v", "3")),
    encoded("ten bits.mkv", "pixels", "AcademySoftwareFoundation/OpenImageIO#4901",
            ("-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-crf", "16")),
    encoded("hevc ten bits.mp4", "pixels", "GPUOpen-LibrariesAndSDKs/AMF#213",
            ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params",
             "log-level=none:pools=1", "-tag:v", "hvc1")),
    encoded("full chroma.mp4", "pixels", "ElvinC/gyroflow#46",
            ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-crf", "16")),
    encoded("lossless rgb.mkv", "pixels", "julianxhokaxhiu/FFNx#536", ("-c:v", "libx264rgb", "-crf", "0")),
    encoded("full range.mp4", "pixels", "jocover/jetson-ffmpeg#68",
            ("-c:v", "libx264", "-vf", "scale=out_range=full,format=yuvj420p", "-crf", "16")),
    encoded("grey.mp4", "pixels", "jursonovicst/gradient#8", ("-c:v", "libx264", "-pix_fmt", "gray", "-crf", "16")),
    encoded("open gop.mp4", "coding", "Nevcairiel/LAVFilters#330",
            (*H264[:-4], "-pix_fmt", "yuv420p", "-x264-params", "open-gop=1:keyint=12:bframes=3")),
    encoded("intra refresh.mkv", "coding", "Nevcairiel/LAVFilters#122",
            (*H264[:-4], "-pix_fmt", "yuv420p", "-x264-params", "intra-refresh=1:keyint=25")),
    encoded("cra.mp4", "coding", "mpv-player/mpv#6218",
            (*X265, "log-level=none:pools=1:open-gop=1:keyint=12:bframes=4")),
    encoded("vc1.wmv", "codec", "HandBrake/HandBrake#699", ("-c:v", "vc1")),
    encoded("indeo.avi", "codec", "VFR-maniac/L-SMASH-Works#49", ("-c:v", "indeo5")),
    encoded("sorenson 3.mov", "codec", "dirkvdb/ffmpegthumbnailer#142", ("-c:v", "svq3")),
    encoded("real 4.rm", "codec", "bilibili/ijkplayer#584", ("-c:v", "rv40")),
]  # fmt: skip

ZOO: list[Entry] = [*RATES, *CONTAINERS, *ODD, *REWRITTEN]
