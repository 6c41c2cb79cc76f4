"""Where files lie: `open_store` makes a `Store` of a path or a URI; `local` and `objects` are the two kinds.

`digest` is SHA-256 of files, `file_locks` a check of locked files, `cache` the user's folder for what may be lost.
Begin reading with `store.Store`.
"""
