"""Weights on disk: own checkpoints, those of other projects, and 2D weights inflated to 3D. No pickle runs code.

In: a file. Out: tensors under the names of the networks here, or one line that says what the file is. Begin reading
with `checkpoints`: it reads a file (`torch_files`, `safetensors_files`, `tensorflow_checkpoint`), finds the state dict
in it (`wrappings`), renames it (`foreign`, `names`), or says what it is (`recognition`, by the table in `kinds`).
"""
