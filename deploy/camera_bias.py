"""What a run that takes the cameras' bias off would find in a test part."""

import numpy as np

from vreid.runtime.camera_bias import CameraBias
from vreid.train.evaluate import Embedded


def without_camera_bias(query: Embedded, gallery: Embedded) -> tuple[Embedded, Embedded]:
    """Both parts without the bias that all their pictures show, by the runtime's own rule: of each camera a vehicle counts
    once, by the mean of its features, and no label but the camera is used otherwise.

    The statistics are of the same vehicles that are looked for, as on site, where they are of those that pass.
    """
    features = np.concatenate([query.features, gallery.features])
    cameras = [str(camera) for camera in np.concatenate([query.cameras, gallery.cameras]).tolist()]
    both = np.stack(
        [np.concatenate([query.vehicles, gallery.vehicles]), np.concatenate([query.cameras, gallery.cameras])]
    )
    passages, row = np.unique(both, axis=1, return_inverse=True)
    bias = CameraBias()
    for number, camera in enumerate(passages[1].tolist()):
        bias.add(str(camera), features[row.ravel() == number].mean(axis=0))
    plain = bias.removed(features, cameras)
    split = len(query.features)
    return (
        Embedded(plain[:split], query.vehicles, query.cameras),
        Embedded(plain[split:], gallery.vehicles, gallery.cameras),
    )
