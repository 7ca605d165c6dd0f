"""TensorRT for RTX: an engine built ahead of time, with no GPU, for RTX cards of several generations; not for a Jetson."""

from pathlib import Path
from typing import Any

from vreid.deploy.build.source import Names, Source, Work, names_of, refuse_options, source_key
from vreid.deploy.build.tensorrt import parsed, serialised
from vreid.deploy.settings import BuildOptions
from vreid.models.errors import Refused
from vreid.runtime.engines.cuda import binding_installed
from vreid.runtime.engines.devices import ANY_RTX, differences, driver
from vreid.runtime.engines.tensorrt import tensorrt_library


def open_tensorrt_rtx(source: Source, options: BuildOptions) -> Work:
    """For the compute capabilities of `options`, or for the library's own choice: Ampere and later."""
    refuse_options("tensorrt_rtx", options, "capabilities", "workspace", "cache")
    trt = tensorrt_library("tensorrt_rtx")
    known = _targets(trt)
    targets = [_target(known, text) for text in options.capabilities]
    version = str(trt.__version__)
    built_for = {
        **source_key(source),
        "device": ANY_RTX,
        "compute_capability": " ".join(sorted(options.capabilities)) or "default",
        "tensorrt_rtx": version,
        **({} if options.workspace is None else {"workspace": str(options.workspace)}),
    }

    def compile(out: Path) -> Names:
        found = parsed(trt, source, options.workspace)
        if targets:
            found.config.num_compute_capabilities = len(targets)
            for index, target in enumerate(targets):
                found.config.set_compute_capability(target, index)
        out.write_bytes(serialised(found))
        return names_of(source)

    return Work("tensorrt_rtx", built_for, compile, _runs_here(built_for, version, known))


def _targets(trt: Any) -> dict[str, Any]:
    """'8.6' -> ComputeCapability.SM86, of all that it builds for."""
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in members if name.startswith("SM")}


def _target(known: dict[str, Any], text: str) -> Any:
    if text not in known:
        raise Refused(f"TensorRT for RTX does not build for compute capability {text}; choose of {', '.join(known)}")
    return known[text]


def _runs_here(built_for: dict[str, str], version: str, known: dict[str, Any]) -> bool:
    """Whether there is an RTX card of such a generation, and a binding to CUDA; building takes neither."""
    devices = driver().devices
    if not devices or devices[0].capability not in known or not binding_installed():
        return False
    here = {"device": devices[0].name, "compute_capability": devices[0].capability, "tensorrt_rtx": version}
    return not differences(built_for, here)
