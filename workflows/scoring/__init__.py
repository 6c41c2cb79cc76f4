"""What is done with trained networks: `evaluate`, `predict`, `features`, and the tools for filters and checkpoints.

In: run folders or checkpoints (`trained` opens them), and a dataset or a video. Out: tables, JSON, Parquet, pictures.
Begin reading with `evaluate`.
"""
