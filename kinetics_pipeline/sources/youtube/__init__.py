"""YouTube: in comes a video id with its clips, out come files (`Media`) or one `Failure`.

Begin with `source.py` (the way of one video). `answers.py` reads the statuses of YouTube's answers as they come in,
`refusals.py` says what they and their words mean, by the tables in `youtube_texts.py`, `gone_texts.py` and
`ytdlp_texts.py`, once the names in them are taken out (`quoted_names.py`). `format_download.py` fetches the bytes of
one format (sections by the file's index, fragments, or all), `sound.py` finds the sound where pictures come without.
"""
