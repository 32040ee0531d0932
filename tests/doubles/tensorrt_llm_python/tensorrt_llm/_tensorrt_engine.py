"""tensorrt-llm DOUBLE (not TensorRT-LLM): the engine backend, of the releases that have it."""

import os

if os.environ.get("TACHO_DOUBLE_WITHOUT_TENSORRT"):
    raise ImportError("(double) this release has no TensorRT backend")

from ._double import LLM

__all__ = ["LLM"]
