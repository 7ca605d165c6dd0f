"""What schemathesis sends where it means to send valid requests: real pictures of kinds that the API takes, printable names."""

import cv2
import numpy as np
import schemathesis
from hypothesis import strategies

_PICTURE = np.random.default_rng(5).integers(0, 255, (64, 96, 3)).astype(np.uint8)
_REAL = [cv2.imencode(ending, _PICTURE)[1].tobytes() for ending in (".jpg", ".png", ".webp")]
_SIGNS = strategies.characters(categories=["L", "N", "P", "S"])
schemathesis.openapi.format("binary", strategies.sampled_from(_REAL))
schemathesis.openapi.format("vehicle-name", strategies.text(_SIGNS, min_size=1, max_size=200))
