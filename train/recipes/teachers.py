"""Recipes of teachers."""

from vreid.models.network import NetworkConfig
from vreid.train.data.pictures import Augmentation
from vreid.train.recipe import Recipe


def teacher_mobilenet() -> Recipe:
    """A teacher for a machine without a GPU: ImageNet MobileNetV2, fine-tuned at 96 and then 128 pixels.

    BoT's losses (Luo et al., CVPRW 2019) on a light body; progressive resizing halves the time.
    Needs --weights (a local file, or `imagenet` for the usual download). Figures: docs/results.md.
    """
    network = NetworkConfig("mobilenet_v2", 128, 128, 512, options={"last_stride": 1})
    return Recipe(network, epochs=24, lr=6e-4, sizes=((0.0, 96), (0.4, 128)), limit=8, imagenet=True)


def teacher_resnet101() -> Recipe:
    """The teacher of the papers (CDD, CVPR 2023; methods.md 1.2 and 1.5) for VeRi-776 on a GPU.

    SGD 0.01, head x1.5, 90 epochs, 16 x 6 pictures of 256 x 256, margin 0.3, ImageNet start. Accuracy: none measured here.
    """
    network = NetworkConfig("resnet101", 256, 256, 512, options={"last_stride": 1})
    light = Augmentation(pad=10 / 256, zoom=1.0, light=0.0, gray=0.0, blur=0.0, noise=0.0)
    return Recipe(
        network,
        epochs=90,
        optimiser="sgd",
        lr=0.01,
        head_lr=1.5,
        weight_decay=5e-4,
        warmup=10,
        flat=40,
        k=6,
        augmentation=light,
        average=0.999,
        imagenet=True,
    )


def teacher_resnet18_small() -> Recipe:
    """A half-width ResNet-18 from scratch at 64 pixels: minutes on one core, for trying things out."""
    network = NetworkConfig("resnet18", 64, 64, 256, options={"scale": 0.5, "last_stride": 1})
    return Recipe(network, epochs=24, lr=1e-3, head_lr=1.0)


def teacher_resnet50_small() -> Recipe:
    """A half-width ResNet-50 from scratch at 64 pixels, SGD: the teacher of the compressing students without a GPU.

    80 epochs on 210 vehicles of roadside: half an hour of one core in bfloat16, 12.2 mAP on bodies never seen.
    """
    network = NetworkConfig("resnet50", 64, 64, 256, options={"scale": 0.5, "last_stride": 1})
    return Recipe(network, epochs=80, optimiser="sgd", lr=0.05, head_lr=1.5, weight_decay=5e-4, warmup=3, flat=32)
