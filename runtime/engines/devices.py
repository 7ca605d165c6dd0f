"""NVIDIA devices: what the driver says of them, and whether a built engine is for this one."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.manifest import Manifest

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
    version = "unknown"
    if library.cuDriverGetVersion(ctypes.byref(number)) == 0:
        version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return Driver(version, ())
    return Driver(version, tuple(_device(library, index) for index in range(number.value)), board())


def _device(library: ctypes.CDLL, index: int) -> Device:
    handle, major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    library.cuDeviceGet(ctypes.byref(handle), index)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceGetAttribute(ctypes.byref(major), 75, handle)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    library.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle)  # ..._MINOR
    library.cuDeviceGetAttribute(ctypes.byref(count), 16, handle)  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
    return Device(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", count.value)


ANY_RTX = "any RTX"  # device of an engine that TensorRT for RTX built ahead of time
_WORDS = {
    "compute_capability": "compute capability",
    "multiprocessors": "a number of multiprocessors of",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT for RTX",
}


def machine_key(library: str, version: str) -> dict[str, str]:
    """The first device, its compute capability and number of multiprocessors, the board where a device tree names it (of a
    Jetson), CUDA as the driver has it, and the version of `library` (tensorrt, tensorrt_rtx). Raises Refused without a device."""
    here = driver()
    if not here.devices:
        raise Refused(
            "there is no NVIDIA device here that the driver knows, and a TensorRT engine runs on nothing else; "
            "take the manifest of the ONNX it was built from, or see vreid doctor"
        )
    device = here.devices[0]
    return {
        "device": device.name,
        "compute_capability": device.capability,
        "multiprocessors": str(device.multiprocessors or "unknown"),
        **({"board": here.board} if here.board else {}),
        library: version,
        "driver": here.version or "unknown",
    }


def differences(built: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """As text, each field of `here` in which an engine `built` for something is not for this machine.

    Engines of earlier commits have no `multiprocessors` and no `board`. They are taken on a PC, where the device's name is
    enough to know it by, and refused on a board, where it is not.
    """
    found = []
    for field, wanted in here.items():
        value = built.get(field)
        if field == "multiprocessors" and value is None and "board" not in here:
            continue
        if built.get("device") == ANY_RTX:
            if field in ("device", "driver", "multiprocessors", "board"):
                continue
            if field == "compute_capability" and (value == "default" or wanted in (value or "").split()):
                continue  # of the default targets the library itself decides when it loads the engine
        if value != wanted:
            found.append(f"{_WORDS.get(field, field)} {value or 'unknown'} and here is {wanted}")
    return found


def refuse_elsewhere(manifest: Manifest, path: Path, here: Mapping[str, str]) -> None:
    """Raises Refused, with the field that differs, for an engine that was built for another machine or not built."""
    if manifest.built_for is None:
        raise Refused(
            f"{path} is not built for any device; run: vreid build <its manifest> --engine {manifest.backend}"
        )
    wrong = differences(manifest.built_for, here)
    if wrong:
        raise Refused(f"{path} was built for {wrong[0]}; run vreid build again here, from the ONNX it was made of")
