"""Building an engine of an ONNX model, one builder a file."""
