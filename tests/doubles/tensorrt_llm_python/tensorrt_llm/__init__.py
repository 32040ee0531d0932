"""tensorrt-llm DOUBLE (not TensorRT-LLM): the public names of its Python `LLM` API over an engine that computes nothing.

Its tokens are a hash of prompt, place and (when sampling) seed. It copies what the real one documents: `generate` is a loop
over `generate_async`; a result made inside an event loop is followed with `async for`, one made outside of it is iterated or
waited for; arguments that are not known raise pydantic's ValidationError; statistics are given once. The environment variable
TACHO_DOUBLE_WITHOUT_TENSORRT makes it a later release, without the TensorRT backend.
"""

from ._double import LLM, BuildConfig, SamplingParams

TACHO_DOUBLE = "tensorrt-llm DOUBLE (not TensorRT-LLM)"
__version__ = TACHO_DOUBLE

__all__ = ["BuildConfig", "LLM", "SamplingParams"]
