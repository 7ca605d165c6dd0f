"""The arms of the compression table are what their names say: recipes that can run, at the MACs that they are compared at."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.data.table import read_dataset


@pytest.fixture(scope="module")
def table(bench: Path) -> ModuleType:
    return importlib.import_module("cdd_table")


@pytest.mark.slow
def test_every_arm_has_a_recipe_and_plain_networks_come_near_the_budget(table: ModuleType) -> None:
    arms = importlib.import_module("cdd_arms")
    heavy = total_of(cost_of(ReidNetwork(arms.ARMS["uncompressed"].recipe().network))).macs
    recipes = {name: arm.recipe() for name, arm in table.FAMILIES["resnet50"].all.items()}
    assert len({name.split(":")[0] for name in recipes}) > 10
    for name, recipe in recipes.items():
        assert recipe.online is not None and recipe.average == 0.0, name
        assert recipe.epochs == (80 if name.endswith("80 epochs") else 40), name
    for name in ("distilled-r18", "distilled-r34"):
        share = total_of(cost_of(ReidNetwork(recipes[name].network))).macs / heavy
        assert arms.SAME - 0.03 < share <= arms.SAME
    assert 0.3 < arms.ceiling() < arms.SAME + 0.02  # ResNet-50's one-sided ceiling is about the paper's saving


def test_the_arms_of_mobilenets_come_near_the_budget(table: ModuleType) -> None:
    mobile, family = importlib.import_module("cdd_mobile_arms"), table.FAMILIES["mobilenet"]
    heavy = ReidNetwork(family.teacher().network)
    whole = total_of(cost_of(heavy)).macs
    for name, arm in family.all.items():
        recipe = arm.recipe()
        assert recipe.online is not None and recipe.epochs == mobile.EPOCHS, name
        assert (recipe.average == 0.0) == (name in family.arms), name
        assert recipe.inherit == (arm.start is not None) and not recipe.imagenet, name
        assert (recipe.network.height, recipe.network.dim) == (mobile.SIDE, mobile.DIM), name
    scaled = total_of(cost_of(ReidNetwork(family.all["distilled-scaled"].recipe().network))).macs / whole
    assert mobile.SAME - 0.03 < scaled <= mobile.SAME
    uniform = family.all["uniform"].start(heavy)
    assert mobile.SAME - 0.03 < total_of(cost_of(uniform)).macs / whole <= mobile.SAME
    shares = [
        now / before
        for stage, old in zip(uniform.config.options["inner"], heavy.body.shape.inner, strict=True)
        for block, widths in zip(stage, old, strict=True)
        for now, before in zip(block, widths, strict=True)
    ]
    assert max(shares) - min(shares) < 0.06 and family.teacher().imagenet


def test_families_do_not_share_a_folder(table: ModuleType, tmp_path: Path) -> None:
    families = table.FAMILIES
    for family in families.values():
        table.refuse_other(tmp_path, family)  # nothing is there yet
    config = replace(families["mobilenet"].teacher().network, classes=210)
    (tmp_path / "teacher").mkdir()
    save_checkpoint(Checkpoint(config, ReidNetwork(config).state_dict(), {}), tmp_path / "teacher" / "best.pt")
    table.refuse_other(tmp_path, families["mobilenet"])
    with pytest.raises(Refused, match="another network"):
        table.refuse_other(tmp_path, families["resnet50"])


def test_a_folder_is_finished_with_its_last_epoch_and_locked_once(table: ModuleType, tmp_path: Path) -> None:
    folder = table.folder_of(tmp_path, "cdd", 0)
    folder.mkdir()
    (folder / "last.pt").write_bytes(b"")
    (folder / "log.jsonl").write_text("{}\n" * 3)
    assert table.finished(folder, 3) and not table.finished(folder, 4)
    with table.locked(folder) as mine, table.locked(folder) as other:
        assert mine and not other
    with table.locked(folder) as again:
        assert again


@pytest.mark.shared
def test_the_subset_is_the_one_that_its_seed_makes(bench: Path, shared: Path) -> None:
    subset = importlib.import_module("roadside_subset")
    with (shared / "data/roadside/identities.csv").open() as file:
        rows = [line.split(",") for line in file.read().splitlines()[1:]]
    bodies = {row[0]: row[2] for row in rows if row[1] == "train"}
    assert subset.parts_of(bodies, 0) == subset.listed()
    learnt, chosen = subset.subset_of(read_dataset(shared / "data/roadside"), subset.listed())
    assert len({item.vehicle for item in learnt.train}) == 210 and not learnt.query
    held = {bodies[item.vehicle] for item in chosen.query}
    assert len(held) == 5 and not held & {bodies[item.vehicle] for item in learnt.train}
