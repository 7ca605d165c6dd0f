"""Recipes of students."""

from dataclasses import replace

from vreid.models.network import NetworkConfig
from vreid.train.answers import Answers
from vreid.train.data.pictures import Augmentation
from vreid.train.recipe import Recipe
from vreid.train.recipes.targets import TAU, WHITE
from vreid.train.recipes.teachers import teacher_resnet18_small


def student_s() -> Recipe:
    """The bundled student vreid-s: MobileNetV2 at 128 pixels with a 128-d embedding, begun where its teacher ended.

    Similarity distillation (Whiten-MTD's loss, AAAI 2024, with one teacher asked once a picture) on top of BoT's losses.
    Needs --weights (the teacher's checkpoint). Command, hardware, time and accuracy: models/zoo/vreid-s.md.
    """
    network = NetworkConfig("mobilenet_v2", 128, 128, 128, options={"last_stride": 1})
    sizes = ((0.0, 96), (0.5, 128))
    return Recipe(network, epochs=6, warmup=1.0, lr=4e-4, head_lr=2.5, sizes=sizes, limit=8, distil=1.0, imagenet=True)


def student_resnet18_small() -> Recipe:
    """The half-width ResNet-18 of teacher_resnet18_small as a student, in batches of 32 and at four times the rate.

    A teacher was asked about the picture as it is: nothing is erased, and light changes half as much. Accuracy: docs/results.md.
    """
    as_asked = Augmentation(light=0.12, erase=0.0)
    return replace(teacher_resnet18_small(), p=8, lr=4e-3, augmentation=as_asked, distil=2.0)


def whiten_mtd_resnet18_small() -> Recipe:
    """Whiten-MTD (AAAI 2024; methods.md 4) beside the labels: several teachers, whitened and fused, into a half-width
    ResNet-18 at 64 pixels, from scratch.

    vreid train student --recipe whiten_mtd_resnet18_small --data VERI --teacher A --teacher B --out runs/fused
    The weight is half that of one teacher, since rows and columns of the similarities both count. Accuracy: docs/results.md.
    """
    answers = Answers(by="fusion", fusion="maxmin", whiten=WHITE, tau=TAU)
    return replace(student_resnet18_small(), distil=1.0, answers=answers)


def drd_resnet18_small() -> Recipe:
    """Data-efficient ranking distillation (ACCV 2020; methods.md 5): no labels, one query a picture, few pictures.

    vreid train student --recipe drd_resnet18_small --data VERI --fraction 0.1 --teacher black-box.npz --out runs/drd
    Our reconstruction of the loss (train/losses/interpolation.py), and an alignment with the teacher's own vectors that the
    abstract does not tell of. Accuracy: docs/results.md.
    """
    answers = Answers(by="ranking", form="kl", tau=0.2, mixed=64, align=5.0)
    return replace(student_resnet18_small(), labels=False, answers=answers, epochs=60, planned=60)
