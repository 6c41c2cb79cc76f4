"""From a Kinetics annotation file to training batches. A clip passes one package a step, as these six types:

1. `annotations` reads files into `annotations.rows.Row`, checks them, and gives a table with one row for each clip.
2. `plan` puts clips into shards before anything is downloaded: a row of the table is now a `records.Clip`.
3. `sources` finds or downloads the video: a `sources.base.Media` is a file on this machine that holds the clip.
4. `clip.process_clip` makes a `clip.ClipResult`: `video` decodes frames, `flow` computes motion, `shards` encodes both.
5. `shards` writes the rows of one shard and, last, its marker with a `records.Record` for each clip.
6. `dataset` sees all plans and markers as one `Dataset`; `storage` reads and writes its files, locally or in a bucket.
7. `loading` finds a clip's rows (`loading.shard_reader.Place`); a `ClipDataset` gives samples, which torch batches.

`workflows.building.driver` moves clips through steps 3 to 5; `models` are the networks, `workflows` all commands. Begin
reading with `clip`; `.github/ARCHITECTURE.md` is the map.
"""
