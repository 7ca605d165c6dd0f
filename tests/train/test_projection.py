"""A kept projection comes back as it was, and knows the features that it was fitted on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vreid.models.errors import Refused
from vreid.train.projection import Projection, fit_rotation, load_projection, projection_path, save_projection

FEATURES = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))


def test_a_kept_projection_comes_back_and_another_teacher_s_is_refused(tmp_path: Path) -> None:
    projection, path = fit_rotation(FEATURES, 4), projection_path(tmp_path / "best.pt")
    assert path.name == "best.projection.npz"
    save_projection(projection, path, "resnet101 of Tuesday")
    again = load_projection(path, "resnet101 of Tuesday")
    assert torch.equal(again.mean, projection.mean) and torch.equal(again.projection, projection.projection)
    assert again.fitted_on == 50
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing half-written stays
    with pytest.raises(Refused, match="Tuesday"):
        load_projection(path, "resnet101 of Wednesday")


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.projection.npz"
    with pytest.raises(Refused, match="there is no projection"):
        load_projection(path, "x")
    save_projection(fit_rotation(FEATURES, 5), path, "x")
    whole = path.read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(Refused, match="is not a projection"):
            load_projection(path, "x")
    np.savez(path, mean=np.zeros(3, np.float32))
    with pytest.raises(Refused, match="is not a projection"):
        load_projection(path, "x")
    np.savez(path, mean=np.array([{}], object), projection=np.zeros((1, 1)), fitted_on=1, fingerprint="x")
    with pytest.raises(Refused, match="is not a projection"):  # a pickle is not opened
        load_projection(path, "x")
    save_projection(Projection(torch.zeros(3), torch.zeros(4, 2), 9), path, "x")
    with pytest.raises(Refused, match="shapes"):
        load_projection(path, "x")
