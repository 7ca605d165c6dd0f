"""Recipes as TOML files: every recipe reads back equal, a base is changed, and what is wrong is refused by file and line."""

import math
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig
from vreid.train.folder import plain
from vreid.train.online import OnlineDistillation
from vreid.train.optimise import rate_at
from vreid.train.pruning.budget import BudgetRules
from vreid.train.pruning.controller import Capacity
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import RECIPES, recipe_named
from vreid.train.recipes.file import read_recipe, recipe_from_fields, recipe_of, toml_of
from vreid.train.recipes.limits import NAMES, RANGES


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """written(text) -> the path of my.toml with that text."""

    def write(text: str) -> Path:
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_is_printed_of_a_recipe_reads_back_equal(written: Any) -> None:
    pruned = [[[4, 4]] * depth for depth in (3, 4, 6, 3)]
    network = NetworkConfig("resnet50", 48, 64, 24, "gem", options={"scale": 0.25, "inner": pruned})
    capacity = Capacity(rules=None, budget=BudgetRules(0.25, "ms"))
    full = Recipe(network, 7, planned=40, margin=None, capacity=capacity, online=OnlineDistillation(tau=1e-5))
    for recipe in (*(recipe_named(name) for name in RECIPES), full, replace(full, epochs=9)):
        text = toml_of(recipe)
        assert read_recipe(written(text)) == recipe, text
        assert recipe_from_fields(plain(recipe), "best.pt") == recipe
        assert "classes" not in text


def test_a_word_is_a_bundled_recipe_or_a_file(written: Any, tmp_path: Path) -> None:
    path = written('base = "student_mobilenet"\n')
    assert recipe_of(str(path)) == recipe_of("student_mobilenet") == recipe_named("student_mobilenet")
    assert recipe_of(str(path.rename(tmp_path / "other.recipe"))) == recipe_named("student_mobilenet")
    with pytest.raises(
        Refused, match="there is no recipe 'best'; choose one of: cdd2_efficientnet_lite0, cdd2_mobilenet"
    ):
        recipe_of("best")
    for name in ("none.toml", "."):
        with pytest.raises(Refused, match=r"the recipe .* cannot be read \("):
            read_recipe(tmp_path / name)


def test_a_file_changes_its_base_in_tables_too(written: Any) -> None:
    base = recipe_named("cdd_resnet50_small")
    found = read_recipe(
        written("""
base = "cdd_resnet50_small"
lr = 0.01
margin = "none"
epochs = 40
[augmentation]
erase = 0
[capacity.rules]
consensus = 0.8
[capacity]
strength = 0.05
""")
    )
    assert base.capacity is not None and base.capacity.rules is not None
    rules = replace(base.capacity.rules, consensus=0.8)
    capacity = replace(base.capacity, strength=0.05, rules=rules)
    light = replace(base.augmentation, erase=0.0)
    assert found == replace(base, lr=0.01, margin=None, augmentation=light, capacity=capacity)
    assert read_recipe(written('base = "cdd_resnet50_small"\ncapacity = "none"\n')).capacity is None
    added = read_recipe(
        written('base = "teacher_resnet18_small"\n[beside]\nblocks = 0\n[capacity.budget]\nshare = 0.3')
    )
    assert added.online == OnlineDistillation(blocks=0) and added.capacity == Capacity(budget=BudgetRules(0.3))
    other = read_recipe(written('base = "teacher_resnet18_small"\n[network]\nbody = "mobilenet_v2"\nheight = 96\n'))
    assert other.network == NetworkConfig("mobilenet_v2", 96, 64, 256)
    inline = read_recipe(written('base = "teacher_resnet18_small"\nnetwork.options = {scale = 0.25}\n')).network
    assert inline.options == {"scale": 0.25, "last_stride": 1}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_other_epochs_in_a_file_keep_the_shares_of_the_base(written: Any, name: str, epochs: int) -> None:
    base = recipe_named(name)
    found = read_recipe(written(f'base = "{name}"\nepochs = {epochs}\n'))
    assert (found.epochs, found.planned, found.stretch) == (epochs, epochs, 1.0)
    for recipe in (found, replace(found, epochs=2 * epochs)):  # --epochs on top
        for done in (0.0, 0.05, 0.2, 0.5, 0.9, 1.0):
            assert rate_at(recipe, done * recipe.epochs) == pytest.approx(rate_at(base, done * base.epochs))
        assert rate_at(recipe, recipe.epochs - 1e-9) < 0.002 * recipe.lr
    if base.capacity is not None and found.capacity is not None:
        assert found.capacity.start == round(base.capacity.start * epochs / base.epochs)


def test_warm_up_and_constant_part_of_a_file_are_epochs_of_that_file(written: Any) -> None:
    found = read_recipe(
        written('base = "teacher_resnet50_small"\nepochs = 40\nflat = 20\n')
    )  # of 80: warmup 3, flat 32
    assert (found.warmup, found.flat, found.planned) == (1.5, 20, 40)
    assert rate_at(found, 19.9) == found.lr > rate_at(found, 21)
    whole = 'epochs = 10\nwarmup = 1\nflat = 4\n[network]\nbody = "resnet18"\nheight = 64\nwidth = 64\n'
    assert read_recipe(written(whole)) == Recipe(NetworkConfig("resnet18", 64, 64), epochs=10, warmup=1, flat=4)


BASE = 'base = "cdd2_resnet50_small"\n'
WRONG = [
    (BASE + "\nleraning_rate = 1", "line 3: there is no setting leraning_rate; the nearest is "),
    (BASE + "optimizer = 'sgd'", "line 2: there is no setting optimizer; the nearest is optimiser"),
    (BASE + "Lr = 1", "line 2: there is no setting Lr; the nearest is lr"),
    (BASE + "dim = 64", "line 2: there is no setting dim; the nearest is network.dim"),
    (BASE + "[augmentation]\nblurr = 0", "line 3: there is no setting augmentation.blurr; the nearest is augmentation.blur"),
    (BASE + "blurr = 0", "line 2: there is no setting blurr; the nearest is augmentation.blur"),
    (BASE + "[augment]\nblur = 0", "line 2: there is no setting augment; the nearest is augmentation"),
    (BASE + "[network]\nepochs = 3", "line 3: there is no setting network.epochs; the nearest is epochs"),
    (BASE + "capacity.budget = {sahre = 0.3}", "line 2: there is no setting capacity.budget.sahre; the nearest is capacity.budget"),
    (BASE + "[network]\nclasses = 3", "line 3: network.classes is counted in the data; leave it out"),
    (BASE + "lr = 'high'", 'line 2: lr should be a valid number, not "high"; correct it'),
    (BASE + "lr = true", "line 2: lr should be a valid number, not true"),
    (BASE + "lr = 2026-01-01", 'line 2: lr should be a valid number, not "2026-01-01"'),
    (BASE + "lr = 0", "line 2: lr should be greater than 0, not 0"),
    (BASE + "lr = nan", "line 2: lr should be "),
    (BASE + "weight_decay = inf", "line 2: weight_decay should be "),
    (BASE + "p = 4.5", "line 2: p should be a valid integer, not 4.5"),
    (BASE + "p = 1", "line 2: p should be greater than or equal to 2, not 1"),
    (BASE + "k = 99999999999999999999", "line 2: k should be less than or equal to 4096"),
    (BASE + "epochs = 0", "line 2: epochs should be greater than or equal to 1, not 0"),
    (BASE + "epochs = '9'", 'line 2: epochs should be a valid integer, not "9"'),
    (BASE + "labels = 1", "line 2: labels should be a valid boolean, not 1"),
    (BASE + "margin = 'soft'", 'line 2: margin should be a valid number, or "none", not "soft"'),
    (BASE + "optimiser = 'adam'", "line 2: optimiser should be 'adamw' or 'sgd', not \"adam\""),
    (BASE + "capacity = true", 'line 2: capacity is a table [capacity] or "none", not true'),
    (BASE + "network = 'resnet18'", 'line 2: network is a table [network], not "resnet18"'),
    (BASE + "[network]\nbody = 'vit'", "line 3: network.body should be 'resnet18', "),
    (BASE + "sizes = [[0, 32], ['x', 64]]", "line 2: sizes[1][0] should be a valid number"),
    (BASE + "sizes = [[0, 32], [0.5, 48]]", "sizes ends with 48 pixels, but the network has 64x64"),
    (BASE + "sizes = [[0.5, 32], [0.2, 64]]", "the shares rising from 0 to 1"),
    (BASE + "sizes = [[0, 1], [0.2, 64]]", "a side in sizes is 16 to 1024 pixels"),
    (BASE + "warmup = 50", "warmup 50 and flat 16 are longer than the training of 40 epochs"),
    (BASE + "[capacity.budget]\ncost_power = 1e9", "cost_power should be less than or equal to 10"),
    (BASE + "[capacity.budget]\nstart = 0.5", "the budget starts at 0.5 and ends at 0.4"),
    (BASE + "[network.options]\ndepth = 3", "resnet50 has no option 'depth'"),
    (BASE + "[network.options]\nscale = 'wide'", "network.options.scale is a number over 0"),
    (BASE + "[network.options]\nscale = 1e9", "network.options.scale is a number over 0"),
    (BASE + "[network.options]\ninner = 3", "network.options.inner is a list"),
    *((BASE + f"[network.options]\nlast_stride = {value}", "network.options.last_stride is 1 or 2, not ")
      for value in ("[1]", "0", "-1", "3", "'1'", "1.5", "1.0", "true", "1" + 23 * "0", "2020-01-01", "{a = 1}")),
    ("base = 'teacher_mobilenet'\n[network.options]\nlast_stride = 0", "network.options.last_stride is 1 or 2, not 0"),
    (BASE + "[network.options]\nscale = 2020-01-01", "network.options.scale is a number over 0"),
    (BASE + "[network.options]\nstem = 2.5", "network.options.stem is a whole number from 1 to 32768, not 2.5"),
    (BASE + "[network.options]\nstem = 1" + 23 * "0", "network.options.stem is a whole number from 1 to 32768, not 1000"),
    (BASE + "[network.options]\nouter = [1, '2']", "network.options.outer is a list"),
    (BASE + "[network.options]\ninner = [[12:00:00]]", "network.options.inner is a list"),
    (BASE + "[network.options]\n" + 50_000 * "d" + " = 3", "resnet50 has no option 'ddd"),
    (BASE + "limit = 1" + 23 * "0", "line 2: limit should be less than or equal to 1000000000"),
    (BASE + "validate_every = 1" + 23 * "0", "line 2: validate_every should be less than or equal to"),
    (BASE + "margin = inf", "line 2: margin should be a finite number"),
    (BASE + '"a\\nb" = 3', "there is no setting a?b"),
    (BASE + 50_000 * "d" + " = 3", "there is no setting ddd"),
    (BASE + "lr = '" + 50_000 * "d" + "'", "line 2: lr should be a valid number"),
    ("base = '" + 50_000 * "d" + "'", "there is no bundled recipe 'ddd"),
    ("base = 'teacher_resnet18'", "line 1: there is no bundled recipe 'teacher_resnet18' to be the base, the nearest is "),
    ("base = 3", "line 1: there is no bundled recipe 3 to be the base"),
    ("epochs = 3", "network is missing; give it, or base with the name of a bundled recipe"),
    ("epochs = 3\n[network]\ndim = 3", "line 2: network.body is missing"),
    ("[network]\nbody = 'resnet18'", "epochs is missing"),
    ("", "network is missing"),
    ("lr = ", "is not TOML (Invalid value (at "),
    ("lr = 1\nlr 2", "is not TOML (Expected '=' after a key in a key/value pair (at line 2, column 4)); correct"),
    ("lr = 1\nlr = 2", "is not TOML ("),
    ("a = " + "9" * 5000, "is not TOML (Exceeds the limit"),
    ("a = " + "[" * 5000, "is not TOML ("),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_what_is_wrong_in_a_file_is_said_in_a_sentence(written: Any, text: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        read_recipe(written(text))
    said = str(refused.value)
    assert (
        "my.toml" in said and says in said and "\n" not in said and len(said) - len(str(said.partition(":")[0])) < 400
    ), said


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(b"lr = 1 # \xff")
    with pytest.raises(Refused, match=r"my\.toml is not UTF-8 text"):
        read_recipe(path)
    path.write_bytes(b'\xef\xbb\xbfbase = "student_mobilenet"\r\nlr = 0.1\r\n')  # as Windows writes it
    assert read_recipe(path) == replace(recipe_named("student_mobilenet"), lr=0.1)


def test_every_number_and_word_of_a_recipe_has_its_range() -> None:
    def leaves(record: Any, at: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in fields(record):
            value = getattr(record, field.name)
            found |= leaves(value, f"{at}{field.name}.") if is_dataclass(value) else {f"{at}{field.name}": value}
        return found

    whole = replace(
        recipe_named("cdd_resnet101"),
        online=OnlineDistillation(),
        margin=0.3,
        capacity=Capacity(budget=BudgetRules(0.3)),
    )
    names = leaves(whole, "")
    free = {"sizes", "network.options", "network.classes", "capacity.budget.of", "capacity.budget.by"}
    ruled = {name for name, value in names.items() if not isinstance(value, bool) and name not in free}
    assert set(RANGES) | set(NAMES) == ruled and not set(RANGES) & set(NAMES)
    assert all(math.isfinite(value) for value in names.values() if isinstance(value, float))


def test_tables_are_read_by_their_earlier_names(written: Any) -> None:
    earlier = read_recipe(written('base = "drd_resnet18_small"\n[answers]\ntau = 0.4\n[beside]\nblocks = 0'))
    now = read_recipe(written('base = "drd_resnet18_small"\n[cached]\ntau = 0.4\n[online]\nblocks = 0'))
    assert earlier == now and now.cached.tau == 0.4
    kept = plain(now)
    assert kept["answers"]["tau"] == 0.4 and kept["beside"]["blocks"] == 0  # as in checkpoints of then
    assert recipe_from_fields(kept, "it") == now
    with pytest.raises(Refused, match=r", line 3: cached\.tau"):
        read_recipe(written('base = "drd_resnet18_small"\n[answers]\ntau = 0'))
