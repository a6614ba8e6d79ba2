"""What llama.cpp can compute on here, and which of it a model is given."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.engine.backends._llama.library import install_line
from llmspell_jupyter.engine.device import Computing, Probe

# What ggml calls the backends that drive such devices. Others, such as Vulkan, have no name in
# profiles and are left alone.
_BACKENDS = {"cuda": ("CUDA",), "metal": ("Metal", "MTL")}
_FLAGS = {"cuda": "-DGGML_CUDA=on", "metal": "-DGGML_METAL=on"}


@dataclass(frozen=True, slots=True)
class NativeDevices:
    """Handles of GPUs.

    Attributes:
        cuda: NVIDIA's, as ``ggml_backend_dev_t``.
        metal: Apple's.
    """

    cuda: tuple[int, ...] = ()
    metal: tuple[int, ...] = ()

    def of(self, device: Computing) -> tuple[int, ...]:
        """The handles for a device; none for the CPU, which is always there."""
        return {"cpu": (), "cuda": self.cuda, "metal": self.metal}[device]


def find(lib: Any) -> NativeDevices:
    """The GPUs that this build of llama.cpp finds."""
    ggml = _Ggml()
    found: dict[str, list[int]] = {"cuda": [], "metal": []}
    for handle in ggml.devices() if lib.llama_supports_gpu_offload() else ():
        for device, names in _BACKENDS.items():
            if ggml.backend_of(handle) in names:
                found[device].append(handle)
    return NativeDevices(tuple(found["cuda"]), tuple(found["metal"]))


def probe(lib: Any, devices: NativeDevices) -> Probe:
    """What the choice of a device goes by."""
    absent = {}
    if not lib.llama_supports_gpu_offload():
        absent = dict.fromkeys(_FLAGS, "this build of llama-cpp-python computes on the CPU only")
    return Probe(
        library="llama-cpp-python",
        cuda=bool(devices.cuda),
        metal=bool(devices.metal),
        absent=absent,
        install={device: install_line(flags) for device, flags in _FLAGS.items()},
    )


def device_list(handles: tuple[int, ...]) -> Any:
    """Handles as ``llama_model_params.devices`` takes them; an empty list means no GPU at all."""
    return (ctypes.c_void_p * (len(handles) + 1))(*handles, None)


class _Ggml:
    """The registry of ggml, of which llama-cpp-python hands on no functions."""

    def __init__(self) -> None:
        from llama_cpp import _ctypes_extensions, _ggml

        registry = _ggml.libggml
        base = _ctypes_extensions.load_shared_library("ggml-base", _ggml.libggml_base_path)
        self._count = registry.ggml_backend_dev_count
        self._count.restype = ctypes.c_size_t
        self._get = registry.ggml_backend_dev_get
        self._get.argtypes, self._get.restype = [ctypes.c_size_t], ctypes.c_void_p
        self._registry_of = base.ggml_backend_dev_backend_reg
        self._registry_of.argtypes, self._registry_of.restype = [ctypes.c_void_p], ctypes.c_void_p
        self._name = base.ggml_backend_reg_name
        self._name.argtypes, self._name.restype = [ctypes.c_void_p], ctypes.c_char_p

    def devices(self) -> list[int]:
        return [self._get(number) for number in range(self._count())]

    def backend_of(self, handle: int) -> str:
        name: bytes = self._name(self._registry_of(handle))
        return name.decode("utf-8", "replace")
