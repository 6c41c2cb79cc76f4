"""What a build will take, before it runs: `timing` times clips on this machine, `hours` says how long each stage takes
on so many machines, `rates` what that costs, `lines` puts it in words for `plan`. Begin reading with `lines`.
"""
