"""`features`: what the last layer of trained networks sees of videos of any length, as files of the field's layouts.

In: videos, or a dataset of ours, and weights. Out: arrays, times, and one outcome a video. A video goes through
`frames` (decoding), `motion` (flow) and `network` at once, in bounded queues; `extractor` joins them, `arrays` writes.
Begin reading with `job`, then `extractor`; `presets` is the table of layouts, `driver` shares out the videos.
"""
