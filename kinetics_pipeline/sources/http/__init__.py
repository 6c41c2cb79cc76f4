"""Files over HTTP: in comes a URL, out comes a file in the cache that an interrupted download goes on with.

Begin with `template.py` (a mirror by its URL template) and `transfer.py` (the bytes of one URL). `ytdlp.py` is the
opener that all requests go through, `sections.py` fetches only what holds clips (by the index, `mp4_index.py`),
`status.py` says what an HTTP status means, `addresses.py` keeps requests out of private networks, `partial_file.py`
describes what lies in the cache, `byte_allowance.py` bounds what is written.
"""
