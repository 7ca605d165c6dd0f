"""What NVIDIA's driver says of itself and its devices; asked by ctypes, so that it needs no package and no CUDA toolkit."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

BOARD = Path("/proc/device-tree/model")


@dataclass(frozen=True)
class Device:
    """One GPU: `capability` is the compute capability, such as 8.7, `multiprocessors` how many it has, 0 if unknown."""

    name: str
    capability: str
    multiprocessors: int = 0


@dataclass(frozen=True)
class Driver:
    """`version` is the CUDA version of libcuda, or None without one. `board` is what the device tree calls the board, which
    Arm boards have and PCs have not: libcuda names an AGX Orin, an Orin NX and an Orin Nano "Orin" alike."""

    version: str | None
    devices: tuple[Device, ...]
    board: str | None = None


def board(path: Path | None = None) -> str | None:
    """Such as "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"; None where there is no device tree."""
    try:
        return (path or BOARD).read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def driver() -> Driver:
    """Ask libcuda itself, as nvidia-smi is not on a Jetson: cuInit, cuDeviceGetCount, cuDeviceGetName."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Driver(None, ())
    number = ctypes.c_int()
    told = "unknown"
    if library.cuDriverGetVersion(ctypes.byref(number)) == 0:
        told = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return Driver(told, ())
    return Driver(told, tuple(_device(library, index) for index in range(number.value)), board())


def _device(library: ctypes.CDLL, index: int) -> Device:
    handle, major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    library.cuDeviceGet(ctypes.byref(handle), index)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceGetAttribute(ctypes.byref(major), 75, handle)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    library.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle)  # ..._MINOR
    library.cuDeviceGetAttribute(ctypes.byref(count), 16, handle)  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
    return Device(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", count.value)
