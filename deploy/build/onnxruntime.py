"""ONNX Runtime: nothing is compiled; the engine is the ONNX file, and the manifest names the provider that runs it."""

import onnxruntime as ort

from vreid.deploy.build.records import Options, Source, Work, refuse_options
from vreid.models.errors import Refused


def open_onnxruntime(source: Source, options: Options) -> Work:
    """On the CPU."""
    refuse_options("onnxruntime", options)
    return Work("onnxruntime", None, None, runs_here=True)


def open_cuda(source: Source, options: Options) -> Work:
    """Through the CUDA provider."""
    return _on_gpu("onnxruntime_cuda", "CUDAExecutionProvider", options)


def open_tensorrt_provider(source: Source, options: Options) -> Work:
    """Through the TensorRT provider."""
    return _on_gpu("onnxruntime_tensorrt", "TensorrtExecutionProvider", options)


def _on_gpu(name: str, provider: str, options: Options) -> Work:
    refuse_options(name, options)
    if provider not in ort.get_available_providers():
        raise Refused(
            f"this ONNX Runtime has no {provider}: pip uninstall -y onnxruntime && pip install onnxruntime-gpu, "
            "or choose --engine onnxruntime"
        )
    return Work(name, None, None, runs_here=True)
