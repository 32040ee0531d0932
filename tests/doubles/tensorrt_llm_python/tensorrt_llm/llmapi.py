"""tensorrt-llm DOUBLE (not TensorRT-LLM)."""

from ._double import KvCacheConfig, QuantAlgo, QuantConfig, SamplingParams, SchedulerConfig

__all__ = ["KvCacheConfig", "QuantAlgo", "QuantConfig", "SamplingParams", "SchedulerConfig"]
