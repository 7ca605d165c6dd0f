"""From camera frames to vehicle identities. Never torch, never onnx."""
