"""A stand-in for YouTube and for plain file servers, on loopback; nothing is ever forwarded.

with FakeYouTube({"okokokokok1": Video([Rendition(path, itag=134, width=640, height=360)])}) as youtube:
    YouTube(youtube.options()).download(...)
    youtube.log          # one Request each
"""

from tests.fake_youtube.answers import PLAYABILITY
from tests.fake_youtube.server import FileServer, Request
from tests.fake_youtube.videos import WATCH_PAGE, Faults, Rendition, Video
from tests.fake_youtube.youtube import FakeYouTube

__all__ = ["PLAYABILITY", "WATCH_PAGE", "FakeYouTube", "Faults", "FileServer", "Rendition", "Request", "Video"]
