"""Building an engine of an ONNX model."""
