"""Stands in for SGLang's kernel package where there is no build of it: on CPUs, which the package index has none for.

Made by Tacho, not by SGLang. SGLang imports names of this package wherever it runs, and calls none of them on a CPU with the
attention backend torch_native. Every name can be imported from here; calling any of them raises. Submodules are absent, which
SGLang knows how to take.
"""

TACHO_STAND_IN = "Tacho's stand-in: any call raises"


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def call(*_args, **_named):
        raise NotImplementedError(
            f"sgl_kernel.{name} was called, and sgl_kernel is a stand-in here: this needs SGLang's own kernels "
            "(docs/engines/sglang.md)"
        )

    return call
