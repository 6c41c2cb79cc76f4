"""The files of the zoo: pictures, streams, clocks, changes in mid-stream, damage."""

from __future__ import annotations

from tests.builders.videos import H264
from tests.media_zoo.entry import Entry, Shown, even
from tests.media_zoo.joining import TS, damaged, joined, marked, with_streams, words
from tests.media_zoo.rendering import at_times, copied, encoded

VP8 = ("-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime", "-cpu-used", "8")
STILL = ("-f", "lavfi", "-i", "color=red:s=160x120:r=25:d=0.04")
OTHER = ("-f", "lavfi", "-i", "color=red:s=64x48:r=25:d=2")
TONE = ("-f", "lavfi", "-i", "sine=d=5")
BOTH = ("-map", "0:v", "-map", "1:v", "-c:v", "libx264", "-crf", "12", "-g", "25", "-pix_fmt", "yuv420p")
SOUND = ("-map", "0", "-map", "1", "-c:v", "copy")
SHAPE = "the shape of the picture changes"


def at(seconds: float) -> tuple[str | float, ...]:
    """A piece of a transport stream whose clock begins there."""
    return (*TS, "-muxdelay", 0, "-muxpreload", 0, "-output_ts_offset", seconds, "-f", "mpegts")


PICTURES = [
    Entry("turned 90.mp4", "turned", "dmlc/decord#180", copied((), before=("-display_rotation", 90)), turned=3),
    Entry("turned 180.mp4", "turned", "dmlc/decord#24", copied((), before=("-display_rotation", 180)), turned=2),
    Entry("turned 270.mov", "turned", "radek-k/FFMediaToolkit#95", copied((), before=("-display_rotation", 270)),
          turned=1),
    encoded("wide pixels.mp4", "pixels", "meta-pytorch/torchcodec#733", (*H264, "-vf", "setsar=4/3")),
    encoded("wide pixels.ts", "pixels", "google/ExoPlayer#375", (*H264, "-vf", "setsar=16/11")),
    encoded("odd size.mkv", "size", "artclarke/humble-video#128", ("-c:v", "ffv1"), width=161, height=121),
    encoded("upright.mp4", "size", "abhiTronix/deffcode#39", width=120, height=160),
    encoded("small.mp4", "size", "PHP-FFMpeg/PHP-FFMpeg#643", width=80, height=60),
    encoded("ribbon.mp4", "size", "caydey/ffshare#72", width=640, height=48),
    encoded("interlaced.ts", "interlaced", "xbmc/xbmc#15817",
            ("-c:v", "libx264", "-flags", "+ildct+ilme", "-x264opts", "tff=1", "-crf", "12", "-pix_fmt", "yuv420p")),
    encoded("interlaced.mpg", "interlaced", "lisamelton/other_video_transcoding#74",
            ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-vf", "setfield=tff", "-q:v", "2")),
]  # fmt: skip

STREAMS = [
    Entry("cover first.mp4", "streams", "mpv-player/mpv#10440",
          with_streams(("-map", 0, "-map", 1, "-c:v:0", "mjpeg", "-pix_fmt:v:0", "yuvj420p", "-c:v:1", "copy",
                        "-disposition:v:0", "attached_pic"), STILL), second_decoder=False),
    Entry("still first.mkv", "streams", "zaps166/QMPlay2#841",
          with_streams((*BOTH, "-disposition:v:0", "default", "-disposition:v:1", 0), STILL), second_decoder=False),
    Entry("still first.ts", "streams", "0x90d/videoduplicatefinder#905", with_streams(BOTH, STILL),
          second_decoder=False),
    Entry("small first.ts", "streams", "dirkvdb/ffmpegthumbnailer#114", with_streams(BOTH, OTHER),
          second_decoder=False),
    Entry("default second.mkv", "streams", "MikeMoolenaar/MkvDefaultTrackChanger#28",
          with_streams((*BOTH, "-disposition:v:0", 0, "-disposition:v:1", "default"),
                       ("-f", "lavfi", "-i", "color=red:s=320x240:r=25:d=2")), second_decoder=False),
    Entry("longer sound.mp4", "streams", "pytorch/vision#2490", with_streams((*SOUND, "-c:a", "aac"), TONE)),
    Entry("late pictures.mkv", "streams", "pytorch/vision#2474",
          with_streams(("-map", 0, "-map", 1, "-c:v", "copy", "-c:a", "aac"), TONE, ("-itsoffset", 0.2)),
          Shown(tuple(0.2 + k / 25 for k in range(50)), 2.2)),
    Entry("sound.avi", "streams", "pytorch/vision#1884",
          with_streams(("-map", 1, "-map", 0, "-c:v", "mpeg4", "-q:v", 2, "-c:a", "pcm_s16le"), TONE)),
    Entry("sound.ts", "streams", "streamlink/streamlink#3229", with_streams((*SOUND, "-c:a", "aac"), TONE)),
]  # fmt: skip

CLOCKS = [
    Entry("restart.ts", "clock", "videojs/mux.js#145", joined(at(0), at(0))),
    Entry("three restarts.ts", "clock", "mangui/flashls#143", joined(at(0), at(0), at(0)), even(25, 3)),
    Entry("joined.ts", "clock", "streamlink/streamlink#4535", joined(at(10), at(11))),
    Entry("overlap.ts", "clock", "stackia/rtp2httpd#676", joined(at(10), at(10.92))),
    Entry("wrap.ts", "clock", "videojs/mux.js#104", joined(at(2**33 / 90000 - 1), at(2**33 / 90000))),
    Entry("wrap within.ts", "clock", "tvheadend/tvheadend#2248",
          copied((*at(2**33 / 90000 - 1.2)[len(TS):],), suffix=".mkv")),
    Entry("restart after hours.ts", "clock", "tvheadend/tvheadend#1876", joined(at(40000), at(0))),
    Entry("jump ahead.ts", "clock", "video-dev/hls.js#283", joined(at(0), at(500))),
    Entry("jump that is marked.ts", "clock", "videojs/videojs-contrib-hls#91",
          marked(at_times([k / 25 + 60 * (k >= 25) for k in range(50)], (*H264, "-bf", "0", "-g", "25"))),
          even(25)),
    Entry("jump that nothing explains.ts", "clock", "video-dev/hls.js#3110",
          at_times([k / 25 + 60 * (k >= 25) for k in range(50)], (*H264, "-bf", "0", "-g", "25")),
          refused="the clock jumps ahead"),
    Entry("jump that nothing explains.flv", "clock", "bilibili/flv.js#671",
          at_times([k / 25 + 60 * (k >= 25) for k in range(50)], (*H264, "-bf", "0", "-g", "25")),
          refused="the clock jumps ahead"),
    Entry("restart.mpg", "clock", "w3c/mediacapture-record#130",
          joined(*[("-c:v", "mpeg2video", "-q:v", 3, "-bf", 2, "-f", "mpeg")] * 2)),
    Entry("restart.flv", "clock", "hua0512/rust-srec#621", joined(*[(*H264, "-f", "flv")] * 2, strip=13)),
    Entry("chained.ogv", "clock", "bvibber/OGVKit#132", joined(*[("-c:v", "libtheora", "-q:v", 7)] * 2),
          encoder="libtheora", refused="several pieces joined in one Ogg file"),
    Entry("begins late.mkv", "clock", "TypesettingTools/Aegisub#21",
          copied(("-output_ts_offset", 0.2), codec=(*H264, "-bf", "0")),
          Shown(tuple(0.2 + k / 25 for k in range(50)), 2.2)),
    Entry("begins below zero.mp4", "clock", "shaka-project/shaka-packager#1610",
          copied(("-output_ts_offset", -0.2, "-avoid_negative_ts", "disabled", "-use_editlist", 0,
                  "-movflags", "+negative_cts_offsets"), codec=(*H264, "-bf", "2"))),
]  # fmt: skip

CHANGES = [
    Entry("better picture.ts", "change", "ant-media/Ant-Media-Server#4577",
          joined(at(0), at(1), sizes=[(160, 120), (320, 240)])),
    Entry("worse picture.ts", "change", "OpenShot/libopenshot#382",
          joined(at(0), at(0), sizes=[(320, 240), (160, 120)])),
    Entry("turned camera.ts", "change", "bvibber/OGVKit#132",
          joined(at(0), at(1), sizes=[(160, 120), (120, 160)]), refused=SHAPE),
    Entry("other pixels.ts", "change", "video-dev/hls.js#113",
          joined((*at(0)[:-6], *at(0)[-6:]), (*TS, "-vf", "setsar=2", *at(1)[len(TS):])), refused=SHAPE),
    Entry("turned camera.mpg", "change", "Kurento/bugtracker#535",
          joined(*[("-c:v", "mpeg2video", "-q:v", 3, "-f", "mpeg")] * 2, sizes=[(160, 120), (120, 160)]),
          refused=SHAPE),
    Entry("better picture.mpg", "change", "streamproc/MediaStreamRecorder#118",
          joined(*[("-c:v", "mpeg2video", "-q:v", 3, "-f", "mpeg")] * 2, sizes=[(160, 120), (320, 240)]),
          refused="1 of the clip's pictures cannot be decoded"),
]  # fmt: skip

DAMAGE = [
    Entry("no index.mp4", "damage", "epic-kitchens/epic-kitchens-download-scripts#23",
          damaged(encoded("", "", "").make, keep=0.7), refused="cannot open|not a video|no video"),
    Entry("cut off.mp4", "damage", "anthwlock/untrunc#63",
          damaged(encoded("", "", "", (*H264, "-movflags", "+faststart")).make, keep=0.6), refused="damaged|ends at"),
    Entry("noise.mp4", "damage", "Tobi-r9/RaMViD#6",
          damaged(encoded("", "", "", (*H264, "-movflags", "+faststart")).make, noise=(0.5, 0.7)), refused="damaged"),
    Entry("lost packets.ts", "damage", "bluenviron/mediamtx#5984",
          damaged(joined(at(0), at(1)), drop=40), refused="packets were lost"),
    Entry("page.mp4", "damage", "TomWhitwell/SlowMovie#111",
          words(b"<!DOCTYPE html><html><body>Sorry</body></html>" * 50), refused="not a video|cannot open"),
]  # fmt: skip

ODD: list[Entry] = [*PICTURES, *STREAMS, *CLOCKS, *CHANGES, *DAMAGE]
