"""OpenVINO: nothing is compiled; it reads the ONNX file and fits it to the CPU whenever it is opened."""

from vreid.deploy.build.records import Options, Source, Work, refuse_options


def open_openvino(source: Source, options: Options) -> Work:
    """The ONNX file with a manifest for OpenVINO; it is opened once, so a missing package is told now."""
    refuse_options("openvino", options)
    return Work("openvino", None, None, runs_here=True)
