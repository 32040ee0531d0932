"""Stands in for SGLang's kernel package where there is no build of it: on CPUs, which PyPI has none for.

Made by Tacho, not by SGLang. SGLang imports names of this package wherever it runs, and calls none of them on a CPU with the
attention backend torch_native. Every name can be imported from here; calling any of them raises.
"""

import importlib.abc
import importlib.machinery
import sys

TACHO_STAND_IN = "Tacho's stand-in: any call raises"


def _absent(name):
    def call(*_args, **_named):
        raise NotImplementedError(
            f"{name} was called, and sgl_kernel is a stand-in here: this needs SGLang's own kernels (docs/engines/sglang.md)"
        )

    return call


def _lookup(module):
    def lookup(name):
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return _absent(f"{module}.{name}")

    return lookup


class _Submodules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """`import sgl_kernel.anything` works too, and finds names that raise when called."""

    def find_spec(self, name, path=None, target=None):
        inside = name.startswith(__name__ + ".")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if inside else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__getattr__ = _lookup(module.__name__)


__path__ = []
__getattr__ = _lookup(__name__)
sys.meta_path.append(_Submodules())
