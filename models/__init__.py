"""The video architectures, their weights, and their training and evaluation loops. Needs torch and nothing else of
this project."""

from __future__ import annotations

from models.errors import Diverged, InputError
from models.registry import MODELS, build_model, count_parameters

__all__ = ["MODELS", "Diverged", "InputError", "build_model", "count_parameters"]
