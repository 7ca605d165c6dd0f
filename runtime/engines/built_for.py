"""Whether a built engine is for this machine: an engine is for one device, one TensorRT and one driver."""

from collections.abc import Mapping
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.manifest import Manifest
from vreid.runtime.engines.driver import driver

ANY_RTX = "any RTX"  # device of an engine that TensorRT for RTX built ahead of time
WORDS = {
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
    """In words, each field of `here` in which an engine `built` for something is not for this machine.

    Engines of vreid 0.1.0 have no `multiprocessors` and no `board`. They are taken where the device's name tells it from all
    others, on a PC, and refused on a board, where it does not.
    """
    found = []
    for field, mine in here.items():
        theirs = built.get(field)
        if field == "multiprocessors" and theirs is None and "board" not in here:
            continue
        if built.get("device") == ANY_RTX:
            if field in ("device", "driver", "multiprocessors", "board"):
                continue
            if field == "compute_capability" and (theirs == "default" or mine in (theirs or "").split()):
                continue  # of the default targets the library itself judges when it loads the engine
        if theirs != mine:
            found.append(f"{WORDS.get(field, field)} {theirs or 'unknown'} and here is {mine}")
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
