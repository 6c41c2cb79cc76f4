"""A zoo of odd media files, each of a kind that somebody reported in public, rendered with numbered frames.

`files` describes them, `rendering` and `joining` make them, `checking` says what of each comes out right: whole, cut at
.52 to 1.52 s, in a shard, as a kept segment and as exports, with PyAV as a second decoder.
`python -m tests.media_zoo [NAME...]` prints the table.
"""
