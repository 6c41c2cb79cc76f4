"""What a build says of itself while it runs. Nothing here decides anything, and nothing here can end a build.

`look` reads what the driver has in hand; `observer` counts what it tells, and with `judgement` and `time_left` makes of
both the state in `live`, which `status` shows. `event_log` and `log_lines` keep every event, `metrics` is the table of
what `exporters` give to Prometheus, `notify` runs the user's command. Begin reading with `watcher`, which the
command calls.
"""
