"""The manifest of a model (stdlib, numpy, cv2) and the networks (torch), file by file."""
