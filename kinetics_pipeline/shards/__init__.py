"""One shard: the encoded rows of some clips in a data file, and the commit marker that says what became of each clip.

In: records and encoded clips. Out: `shards/train-00000.parquet` and its marker. `schema` has the columns, `layouts` how
their images are stored, `clip_rows` and `codec` encode a clip, `data_file` writes and reads the file, `writer` commits
a shard, `spool` keeps clips that wait for theirs. Begin reading with `writer.write_shard`.
"""
