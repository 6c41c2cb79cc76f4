"""Weights on disk: our own checkpoints, the public ports', DeepMind's; and 2D weights inflated to 3D."""
