"""Recipes of students."""

from dataclasses import replace

from vreid.models.network import NetworkConfig
from vreid.train.recipe import Recipe
from vreid.train.recipes.teachers import teacher_resnet18_small

# ResNet-18 at half width whose last two stages are slim inside: 1.2 M parameters, so that the file stays under 5 MB
SLIM = [[[32], [32]], [[64], [64]], [[80], [80]], [[72], [72]]]


def student_s() -> Recipe:
    """The bundled student vreid-s: a slim ResNet-18 at 128 pixels, from scratch, beside a teacher when one is given.

    Similarity distillation (Whiten-MTD's loss, AAAI 2024, with one teacher asked once a picture) on top of BoT's losses;
    progressive resizing. Command, hardware, time and accuracy: models/zoo/vreid-s.md.
    """
    network = NetworkConfig("resnet18", 128, 128, 256, options={"scale": 0.5, "last_stride": 1, "inner": SLIM})
    sizes = ((0.0, 64), (0.5, 96), (0.8, 128))
    return Recipe(network, epochs=60, lr=1e-3, head_lr=1.0, sizes=sizes, limit=8, distil=2.0)


def student_resnet18_small() -> Recipe:
    """The half-width ResNet-18 of teacher_resnet18_small as a student."""
    return replace(teacher_resnet18_small(), distil=2.0)
