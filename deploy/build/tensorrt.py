"""TensorRT: an engine tuned on the device that will run it, with the DLA of a Jetson where it is requested; and TensorRT for RTX.

The plan of an ONNX file is strongly typed, so that the precision is the graph's and not a flag's, and its batch is dynamic.
`parsed` and `serialised` serve TensorRT (10.3 to 11) and TensorRT for RTX, by what both have: TensorRT 11 took away calibrators
and the flags for FP16 and INT8, and made STRONGLY_TYPED a word without effect, as every network is so.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vreid.deploy.build.table import (
    Names,
    Source,
    Work,
    device_key,
    names_of,
    refuse_options,
    refuse_without_gpu,
    source_key,
)
from vreid.deploy.settings import BuildOptions
from vreid.models.errors import Refused
from vreid.models.files import write_atomic
from vreid.runtime.engines.cuda import binding_installed, open_cuda
from vreid.runtime.engines.devices import ANY_RTX, differences, driver
from vreid.runtime.engines.tensorrt import first_error, listener_of, tensorrt_library

MOST_ERRORS = 3  # errors of the parser in one sentence


@dataclass(frozen=True)
class Parsed:
    """A network that was parsed, and how it will be built; `listener` must outlive the builder."""

    trt: Any
    builder: Any
    network: Any
    config: Any
    listener: Any


def parsed(trt: Any, source: Source, workspace: int | None = None) -> Parsed:
    """The network of `source` with one profile from the manifest's batch; TF32 is off, so that fp32 is fp32. `workspace` MiB
    are the most that a layer may use for intermediate results (all of the device's memory unless given).

    Raises Refused with what the parser said, or when it took the graph in another precision than the manifest's.
    """
    calibration = source.manifest.calibration
    if calibration is not None and calibration.target == "cpu":
        raise Refused(
            f"{source.onnx} is INT8 for a CPU, in a form that TensorRT's parser does not take; make one for it with "
            "'vreid quantize --for tensorrt'"
        )
    listener = listener_of(trt)
    builder = trt.Builder(listener)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, listener)
    if not parser.parse(source.data):
        errors = [_error(parser.get_error(index)) for index in range(parser.num_errors)][:MOST_ERRORS]
        reason = "; ".join(errors) or first_error(listener)
        raise Refused(
            f"TensorRT cannot take {source.onnx} ({reason}); export it again, and INT8 by 'vreid quantize --for tensorrt'"
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace << 20)
    profile = builder.create_optimization_profile()
    spec = source.manifest.input
    profile.set_shape(spec.name, *((batch, spec.height, spec.width, 3) for batch in spec.batch))
    if config.add_optimization_profile(profile) < 0:
        raise Refused(
            f"TensorRT refuses batches of {spec.batch} for {source.onnx}; export it again with another --batch"
        )
    found = Parsed(trt, builder, network, config, listener)
    _refuse_other_precision(found, source)
    return found


def serialised(found: Parsed) -> bytes:
    """The plan; takes seconds to many minutes. Raises Refused with TensorRT's first error."""
    plan = found.builder.build_serialized_network(found.network, found.config)
    if plan is None:
        raise Refused(f"TensorRT could not build the engine ({first_error(found.listener)}); vreid doctor may say more")
    return bytes(plan)


def layers_of(network: Any) -> list[Any]:
    """Its layers, in order."""
    return [network.get_layer(index) for index in range(network.num_layers)]


def _refuse_other_precision(found: Parsed, source: Source) -> None:
    """What the parser made of the graph is what will be built: the types of a strongly typed network are final."""
    trt, claimed = found.trt, source.manifest.precision
    layers = layers_of(found.network)
    if claimed == "int8":
        there = any(layer.type == trt.LayerType.QUANTIZE for layer in layers)
    elif claimed == "fp16":
        arithmetic = (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
        there = any(layer.type in arithmetic and layer.get_output(0).dtype == trt.DataType.HALF for layer in layers)
    else:
        there = True
    if not there:
        raise Refused(
            f"TensorRT reads FP32 in {source.onnx}, which claims {claimed.upper()}; "
            "make it again with 'vreid export --half' or 'vreid quantize'"
        )


def _error(error: Any) -> str:
    where = f"{error.node_operator()} {error.node_name()}".strip()
    said = " ".join(str(error.desc()).split())
    return f"{where}: {said}" if where else said


def open_tensorrt(source: Source, options: BuildOptions) -> Work:
    """For this device only. Raises Refused without one, without TensorRT, and for a DLA with fp32."""
    refuse_options("tensorrt", options, "dla", "workspace", "cache")
    if options.dla is not None:
        refuse_dla(source)
    refuse_without_gpu("tensorrt")
    trt = tensorrt_library("tensorrt")
    open_cuda()  # what could not run the engine is said before the minutes of building it
    built_for = device_key(source, options, str(trt.__version__))

    def compile(out: Path) -> Names:
        found = parsed(trt, source, options.workspace)
        if options.dla is not None:
            put_on_dla(found, options.dla)
        cache = None if options.cache is None else options.cache / timing_name(built_for)
        begin_timing(found, cache)
        out.write_bytes(serialised(found))
        keep_timing(found, cache)
        return names_of(source)

    return Work("tensorrt", built_for, compile, runs_here=True)


def refuse_dla(source: Source) -> None:
    """Raises Refused for what no DLA takes: float32, and a batch that varies (NVIDIA's developer guide, Restrictions with
    dynamic shapes: minimum, optimum and maximum of the profile must be equal)."""
    if source.manifest.precision == "fp32":
        raise Refused(
            "a DLA computes fp16 and int8, not fp32; export it with --half or quantize it, or leave --dla out"
        )
    least, best, most = source.manifest.input.batch
    if least != most:
        raise Refused(
            f"a DLA takes one fixed batch, and {source.onnx.name} has batches of {least} {best} {most}; make it again with one, "
            f"such as 'vreid export ... --batch {best} {best} {best}', or leave --dla out"
        )


def put_on_dla(found: Parsed, core: int) -> None:
    """Every layer that can go to DLA `core` goes there, the others stay on the GPU: the Cast of the pixels at least, since a
    DLA takes no uint8. Raises Refused where there is no such core, or nothing can go there."""
    trt, config = found.trt, found.config
    cores = int(found.builder.num_DLA_cores)
    if not 0 <= core < cores:
        raise Refused(f"this device has {cores} DLA cores and no core {core}; leave --dla out or give one from 0")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if not any(config.can_run_on_DLA(layer) for layer in layers_of(found.network)):
        raise Refused("no layer of this network can run on the DLA of this device; leave --dla out")


def timing_name(built_for: dict[str, str]) -> str:
    """The file of a device and a version: timings of another are worth nothing."""
    fields = ("board", "device", "multiprocessors", "compute_capability", "tensorrt")
    words = "-".join(built_for[field] for field in fields if field in built_for)
    return f"timing-{re.sub(r'[^A-Za-z0-9.-]+', '_', words)}.cache"


def begin_timing(found: Parsed, path: Path | None) -> None:
    """Start from the timings of earlier builds; those that TensorRT does not take are left out."""
    if path is None:
        return
    config = found.config
    try:
        known = path.read_bytes()
    except OSError:
        known = b""
    timings = config.create_timing_cache(known)
    if timings is None or not config.set_timing_cache(timings, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def keep_timing(found: Parsed, path: Path | None) -> None:
    """Keep the timings, complete or not at all. A cache that cannot be written only costs time."""
    timings = None if path is None else found.config.get_timing_cache()
    if path is None or timings is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, bytes(timings.serialize()))


# TensorRT for RTX: an engine built ahead of time, with no GPU, for RTX cards of several generations; not for a Jetson.


def open_tensorrt_rtx(source: Source, options: BuildOptions) -> Work:
    """For the compute capabilities of `options`, or for the library's own choice: Ampere and later."""
    refuse_options("tensorrt_rtx", options, "capabilities", "workspace", "cache")
    trt = tensorrt_library("tensorrt_rtx")
    known = _rtx_targets(trt)
    targets = [_rtx_target(known, text) for text in options.capabilities]
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

    return Work("tensorrt_rtx", built_for, compile, _rtx_runs_here(built_for, version, known))


def _rtx_targets(trt: Any) -> dict[str, Any]:
    """'8.6' -> ComputeCapability.SM86, of all that it builds for."""
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in members if name.startswith("SM")}


def _rtx_target(known: dict[str, Any], text: str) -> Any:
    if text not in known:
        raise Refused(f"TensorRT for RTX does not build for compute capability {text}; choose of {', '.join(known)}")
    return known[text]


def _rtx_runs_here(built_for: dict[str, str], version: str, known: dict[str, Any]) -> bool:
    """Whether there is an RTX card of such a generation, and a binding to CUDA; building takes neither."""
    devices = driver().devices
    if not devices or devices[0].capability not in known or not binding_installed():
        return False
    here = {"device": devices[0].name, "compute_capability": devices[0].capability, "tensorrt_rtx": version}
    return not differences(built_for, here)
