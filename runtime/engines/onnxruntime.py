"""ONNX Runtime: on the CPU the plain engine, everywhere at hand; on a GPU through its CUDA and TensorRT providers."""

import contextlib
import io
from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from vreid.models.errors import Refused
from vreid.models.manifest import EngineFile, Manifest
from vreid.models.preprocess import Image
from vreid.runtime.engines.onnx_file import onnx_from
from vreid.runtime.engines.processor import has_vnni
from vreid.runtime.engines.table import Port, refuse_ports
from vreid.runtime.records import Floats

# ONNX Runtime's own errors are not RuntimeErrors: each derives from Exception directly.
FAULTS = (
    faults.EPFail,
    faults.Fail,
    faults.InvalidArgument,
    faults.InvalidGraph,
    faults.InvalidProtobuf,
    faults.NoSuchFile,
    faults.NotImplemented,
    faults.RuntimeException,
    RuntimeError,
    ValueError,
)
CPU = "CPUExecutionProvider"
# x86 without VNNI adds pairs of INT8 products in 16 bits, which overflow: other embeddings than elsewhere. With this INT8 is
# exact on every processor; weights of 7 bits, which cannot overflow, keep the fast kernel. With VNNI it changes no sum and takes
# half as long again, so that it is left out.
EXACT_INT8 = ("session.x64quantprecision", "1")
_TYPES = {"tensor(float)": "float32"}  # others are called as in numpy
Providers = Mapping[str, Mapping[str, str]]  # in the order of preference, with their options


class OnnxRuntimeEngine:
    """One session; threads are set explicitly and never spin, since an edge box shares its cores with the decoder."""

    def __init__(self, manifest: Manifest, file: EngineFile, threads: int, providers: Providers) -> None:
        onnx_from(file.data, file.path)
        names, settings = list(providers), [dict(one) for one in providers.values()]
        try:
            try:
                self._session = ort.InferenceSession(file.data, session_options(threads, True), names, settings)
            except (
                faults.NotImplemented
            ):  # 1.32 makes kernels of EXACT_INT8 for QLinearConv on int8 that it does not have
                self._session = ort.InferenceSession(file.data, session_options(threads, False), names, settings)
        except FAULTS as error:
            raise Refused(
                f"ONNX Runtime cannot load {file.path}; export the model again ({first_line(error)})"
            ) from error
        active = self._session.get_providers()[0]
        if active != names[0]:  # a session falls back without an error
            raise Refused(
                f"ONNX Runtime fell back to {active} since {names[0]} does not start here; install the CUDA libraries of "
                "its version (pip install 'onnxruntime-gpu[cuda,cudnn]'), or take the onnxruntime engine"
            )
        inputs, outputs = (
            [port_of(node) for node in ports()] for ports in (self._session.get_inputs, self._session.get_outputs)
        )
        refuse_ports(manifest, file.path, inputs, outputs)
        self._manifest = manifest

    def infer(self, pixels: Image) -> Floats:
        """(B, H, W, 3) uint8 BGR -> (B, D) float32."""
        try:
            out = self._session.run([self._manifest.output.name], {self._manifest.input.name: pixels})[0]
        except FAULTS as error:
            name = self._manifest.name
            raise Refused(f"ONNX Runtime cannot run {name}; export the model again ({first_line(error)})") from error
        return np.asarray(out, np.float32)


def session_options(threads: int, exact: bool) -> ort.SessionOptions:
    """Of a session that shares its cores with others; `exact` is EXACT_INT8, where the processor needs it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is said in the sentence of a refusal
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if exact and not has_vnni(unknown=False):
        options.add_session_config_entry(*EXACT_INT8)
    return options


def port_of(node: ort.NodeArg) -> Port:
    """An input or output of a session."""
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Port(node.name, _TYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")")), shape)


def first_line(error: Exception) -> str:
    """What is said of an error of ONNX Runtime's."""
    return str(error).partition("\n")[0]


def _refuse_absent(provider: str) -> None:
    if provider not in ort.get_available_providers():
        raise Refused(
            f"this ONNX Runtime has no {provider}: pip uninstall -y onnxruntime && pip install onnxruntime-gpu "
            "(on a Jetson the wheel made for its JetPack), or take the onnxruntime engine"
        )
    if hasattr(ort, "preload_dlls"):  # from 1.21 on: finds the CUDA libraries that pip has put next to it
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it misses; the session says it in an error
            ort.preload_dlls()


def open_onnxruntime(manifest: Manifest, file: EngineFile, threads: int) -> OnnxRuntimeEngine:
    """The seam's entry for the CPU."""
    return OnnxRuntimeEngine(manifest, file, threads, {CPU: {}})


def open_cuda_provider(manifest: Manifest, file: EngineFile, threads: int) -> OnnxRuntimeEngine:
    """The seam's entry for the CUDA provider. TF32 stays off, so that fp32 is fp32."""
    _refuse_absent("CUDAExecutionProvider")
    # the arena would else grow in powers of two with every new batch size, and never shrink
    settings = {"device_id": "0", "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
    return OnnxRuntimeEngine(manifest, file, threads, {"CUDAExecutionProvider": settings, CPU: {}})


def open_tensorrt_provider(manifest: Manifest, file: EngineFile, threads: int) -> OnnxRuntimeEngine:
    """The seam's entry for the TensorRT provider.

    It builds anew at every start: its own engine cache would load files that no hash was checked of.
    """
    _refuse_absent("TensorrtExecutionProvider")
    spec = manifest.input
    shapes = [f"{spec.name}:{batch}x{spec.height}x{spec.width}x3" for batch in spec.batch]
    settings = {
        "device_id": "0",
        "trt_profile_min_shapes": shapes[0],
        "trt_profile_opt_shapes": shapes[1],
        "trt_profile_max_shapes": shapes[2],
        # permissions, not wishes: what is half or in Q/DQ in the graph may stay so
        "trt_fp16_enable": str(manifest.precision == "fp16"),
        "trt_int8_enable": str(manifest.precision == "int8"),
        "trt_engine_cache_enable": "False",
    }
    providers: Providers = {"TensorrtExecutionProvider": settings, "CUDAExecutionProvider": {"device_id": "0"}, CPU: {}}
    return OnnxRuntimeEngine(manifest, file, threads, providers)
