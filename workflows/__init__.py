"""The commands: each reads its flags, connects to Ray where it needs it, and calls the other two packages.

`cli` holds the command line, `flags` the flags. Begin reading with the command's own folder: `building` is `build`,
`training` is `train`.
"""
