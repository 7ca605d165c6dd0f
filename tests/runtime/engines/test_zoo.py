"""Every bundled model is whole, has a card, and finds vehicles again that it was never shown."""

from pathlib import Path

import numpy as np
import pytest

from vreid.models.manifest import read_manifest
from vreid.models.preprocess import Embed
from vreid.models.zoo import bundled, manifest_path
from vreid.runtime.embedder import open_embedder
from vreid.synth.crops import training_crops
from vreid.train.evaluate import Embedded, Retrieval, hsv_histograms, retrieval

MODELS = list(bundled())


def score(embed: Embed) -> Retrieval:
    """Retrieval over 16 synthetic vehicles under 4 cameras, of a seed that no training used."""
    crops = list(training_crops(seed=9_000, vehicles=16, cameras=4, per_camera=1))
    features = np.asarray(embed([image for _, _, image in crops]), np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    vehicles, cameras = (np.unique([crop[place] for crop in crops], return_inverse=True)[1] for place in (0, 1))
    pictures = Embedded(features, vehicles, cameras)
    return retrieval(pictures, pictures)


def test_the_models_that_the_pages_name_are_there() -> None:
    assert {"vreid-m", "vreid-s", "vreid-n"} <= set(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_bundled_model_finds_unseen_vehicles_far_better_than_their_colours_do(name: str) -> None:
    path = manifest_path(name)
    manifest = read_manifest(path)
    assert manifest.match is not None and manifest.accuracy is not None
    assert path.with_suffix(".md").read_text(encoding="utf-8").startswith(f"# {name}")
    assert Path(path.with_name(manifest.engine)).stat().st_size < 5_000_000
    network, colours = score(open_embedder(path).embed), score(hsv_histograms)
    assert network.map > 2 * colours.map and network.rank1 > 1.5 * colours.rank1
