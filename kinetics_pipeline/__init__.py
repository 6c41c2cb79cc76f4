"""From a Kinetics annotation file to training batches. A clip passes one package a step:

1. `annotations` reads the files, each line an `annotations.rows.Row`, and gives a table with one row for each clip.
2. `plan` puts clips into shards before anything is downloaded; a row of the table is now a `records.Clip`.
3. `sources` finds or downloads the video: a `sources.base.Media` is a file on this machine that holds the clip.
4. `clip.process_clip` makes the clip's rows, a `ClipResult`: `video` decodes frames, `flow` computes motion, `shards`
   encodes both.
5. `shards` writes the rows of one shard and, last, its marker with a `records.Record` for each clip.
6. `dataset` sees all plans and markers as one `Dataset`; `storage` reads and writes its files, locally or in a bucket.
7. `loading.ClipDataset` finds a clip's rows by their `Place` and gives a sample; torch's DataLoader makes a batch.

So one clip is in turn a Row, a Clip, a Media, a ClipResult, a Record, a Place and a sample.

`models` are the networks, `workflows` the commands. Begin reading with `clip`; `.github/ARCHITECTURE.md` is the map.
"""
