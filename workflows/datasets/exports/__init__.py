"""The forms that `tools export` writes: files a clip (`clips`), tars (`tars`), and a folder for Hugging Face (`hub`).

Begin reading with `workflows.datasets.export`.
"""
