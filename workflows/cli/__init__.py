"""The command line. In: words as typed. Out: an exit code, and one line for whatever a user can cause.

`app` runs a command and turns errors into lines; `dataset_commands` and `model_commands` hold the rest. A command is a
function that imports its work when it is called, so that `--help` is quick. Begin reading with `app.run`.
"""
