"""TensorRT: an engine tuned on the device that will run it, with the DLA of a Jetson where it is asked for."""

import re
from contextlib import suppress
from pathlib import Path

from vreid.deploy.build.key import device_key, refuse_without_gpu
from vreid.deploy.build.plan import Parsed, layers_of, parsed, serialised
from vreid.deploy.build.records import Names, Options, Source, Work, names_of, refuse_options
from vreid.models.errors import Refused
from vreid.models.files import write_atomic
from vreid.runtime.engines.cuda import open_cuda
from vreid.runtime.engines.tensorrt import tensorrt_library


def open_tensorrt(source: Source, options: Options) -> Work:
    """On this device alone. Raises Refused without one, without TensorRT, and for a DLA with fp32."""
    refuse_options("tensorrt", options, "dla", "workspace")
    if options.dla is not None:
        refuse_dla(source)
    refuse_without_gpu("tensorrt")
    trt = tensorrt_library("tensorrt")
    open_cuda()  # what could not run the engine is said before the minutes of building it
    built_for = device_key(source, options, str(trt.__version__))

    def compile(draft: Path) -> Names:
        found = parsed(trt, source, options.workspace)
        if options.dla is not None:
            put_on_dla(found, options.dla)
        cache = None if options.cache is None else options.cache / timing_name(built_for)
        begin_timing(found, cache)
        draft.write_bytes(serialised(found))
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
    """Keep the timings whole or not at all. A cache that cannot be written costs time and no engine."""
    timings = None if path is None else found.config.get_timing_cache()
    if path is None or timings is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, bytes(timings.serialize()))
