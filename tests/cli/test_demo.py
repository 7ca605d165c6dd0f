"""`vreid demo`: the whole path over the synthetic scene, scored against the scene itself."""

import json
from pathlib import Path

import pytest

from vreid.cli.main import main

SMALL = ("--seconds", "5", "--vehicles", "4", "--cameras", "2")


@pytest.mark.slow
def test_the_demo_ends_with_identity_figures(
    tmp_path: Path, colour_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *SMALL, "--out", str(tmp_path / "demo"), "--model", str(colour_model)]) == 0
    said = capfd.readouterr()
    assert all(line.startswith("frames: ") for line in said.err.splitlines())  # progress, where it takes long
    assert "against the ground truth: identity accuracy" in said.out
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in said.out
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert set(report["cameras"]) == {"cam1", "cam2"} and report["frames"] == 100
    score = report["identity"]
    assert set(score) == {"idf1", "idp", "idr", "accuracy", "kept_over_cameras", "vehicles"}
    assert 0.2 < score["idf1"] <= 1 and 0 < score["accuracy"] <= 1
    assert report["enrolled"] == report["vehicles"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]


def test_its_defaults_are_the_citys(tmp_path: Path, colour_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `vreid run synth://city?camera=1` shows what the demo shows, and --cameras may be more than 3."""
    from vreid.cli import demo, run
    from vreid.runtime.session import Site
    from vreid.runtime.sources.synth import synth_truth

    sites: list[Site] = []

    def done(site: Site, json: bool) -> int:
        sites.append(site)
        return 0

    monkeypatch.setattr(run, "done", done)
    demo.main(demo.Args(model=str(colour_model)))
    demo.main(demo.Args(model=str(colour_model), cameras=5, seconds=2.5, vehicles=2))
    assert [len(site.cameras) for site in sites] == [3, 5]
    assert synth_truth(sites[0].cameras[1].source) == synth_truth("synth://city?camera=2")
    assert len(synth_truth(sites[1].cameras[4].source)) == 25
