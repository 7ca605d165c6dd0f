"""The report of a training: it says what the log says, draws what there is, lets no markup through, and is reproducible."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.train.report import epochs_in, report_of, write_report

WHOLE = {f"layer{stage}.{block}": {"conv1": 8 * stage, "conv2": 8 * stage} for stage in (1, 2) for block in (0, 1)}


def plain(epoch: int, **more: Any) -> dict[str, Any]:
    """What a teacher logs."""
    losses = {"classification": 6.0 / epoch, "triplet": 0.25}
    return {"epoch": epoch, "size": 64, "lr": 4e-4, "losses": losses, "seconds": 90.0 * epoch} | more


def compressing(epoch: int, share: float, near: bool = True, **more: Any) -> dict[str, Any]:
    """What a student that is compressed logs: the share is that of every layer too."""
    widths = {
        block: {place: round(width * share) if near or place == "conv2" else width for place, width in part.items()}
        for block, part in WHOLE.items()
    }
    record = plain(epoch, params=int(2e7 * share), macs=int(1.5e9 * share), share=share, widths=widths)
    record |= {"target": {"unit": "macs", "share": 0.3}, "masked": [[epoch, 1], [2, 3 * epoch]]}
    return record | ({"whole": WHOLE} if epoch == 1 else {}) | more


def scores(**sets: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {name: {"map": score, "rank1": rank1} for name, (score, rank1) in sets.items()}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "run-7").mkdir()
    return tmp_path / "run-7" / "log.jsonl"


def write(log: Path, records: Sequence[dict[str, Any]]) -> None:
    log.write_text("".join(json.dumps(record) + "\n" for record in records))


def page_of(log: Path, records: Sequence[dict[str, Any]]) -> str:
    write(log, records)
    return report_of(log)


def tiles(page: str) -> dict[str, str]:
    found = re.findall(r"<div[^>]*><b>([^<]*)</b><span>([^<]*)</span></div>", page)
    return {unescape(name): unescape(value) for value, name in found}


def plots(page: str) -> dict[str, str]:
    found = re.findall(r'<figure class="panel" id="plot-(\w+)">(.*?)</figure>', page, re.DOTALL)
    return dict(found)


def heights(svg: str, colour: str) -> np.ndarray:
    """(N,) how far down the points of the solid line of that colour lie."""
    path = re.search(
        rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: {colour}; stroke-width: [\d.]+; stroke-linecap', svg
    )
    assert path is not None
    return np.array([float(y) for _, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path[1])])


def test_the_figures_are_the_logs(log: Path) -> None:
    records = [
        compressing(1, 1.0, validation=scores(a=(50.0, 60.0), b=(60.0, 70.0))),
        compressing(2, 0.75),
        compressing(3, 0.5, validation=scores(a=(70.0, 80.0), b=(71.0, 81.0))),
        compressing(4, 0.375, validation=scores(a=(65.0, 77.0), b=(66.25, 78.0))),
    ]
    page = page_of(log, records)
    assert "<h1>run-7</h1>" in page
    assert tiles(page) == {
        "epochs": "4",
        "hours": "0.25",  # 90 s * (1 + 2 + 3 + 4)
        "last mAP, epoch 4": "65.62 %",
        "params": "7.5 M",
        "MACs": "562.5 M",
        "of the MACs kept": "37.5 %",
        "target, of the MACs": "30 %",
    }
    rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    last = dict(zip(rows[0], rows[-1], strict=True))
    assert len(rows) == 5
    assert last["epoch"] == "4" and last["loss classification"] == "1.5000" and last["seconds"] == "360.0"
    assert last["masked"] == "19" and last["a mAP / Rank-1"] == "65.00 / 77.00"


def test_a_score_at_a_smaller_input_is_not_the_best(log: Path) -> None:
    found = [plain(1, size=48, validation=scores(a=(90.0, 90.0))), plain(2, validation=scores(a=(40.0, 50.0)))]
    assert tiles(page_of(log, found))["best mAP, epoch 2"] == "40.00 %"


def test_the_figure_that_stands_out_is_that_of_the_kept_checkpoint(log: Path) -> None:
    better, worse = scores(a=(70.0, 80.0)), scores(a=(40.0, 50.0))
    uncompressed = [plain(1, validation=better), plain(2, validation=worse)]
    compressed = [compressing(1, 1.0, validation=better), compressing(2, 0.5, validation=worse)]
    for records, value, name in (
        (uncompressed, "70.00 %", "best mAP, epoch 1"),
        (compressed, "40.00 %", "last mAP, epoch 2"),
    ):
        found = re.findall(r'<div class="main"><b>([^<]*)</b><span>([^<]*)</span>', page_of(log, records))
        assert found == [(value, name)]


def test_what_has_no_data_is_not_drawn(log: Path) -> None:
    bare = page_of(log, [{"epoch": 1, "losses": {}, "seconds": 3.0}])
    assert list(plots(bare)) == ["pace"] and "Learning rate" not in bare
    assert list(plots(page_of(log, [plain(1), plain(2)]))) == ["losses", "pace"]
    validated = page_of(log, [plain(1), plain(2, validation=scores(a=(50.0, 60.0)))])
    assert list(plots(validated)) == ["losses", "pace", "validation"]
    assert "MACs" not in validated


def test_a_compressing_run_shows_all(log: Path) -> None:
    found = [compressing(n, 1 / n, validation=scores(a=(70.0 - n, 80.0))) for n in (1, 2, 3)]
    page = page_of(log, found)
    assert list(plots(page)) == ["losses", "pace", "validation", "kept", "trade", "masked", "widths"]
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    names = re.findall(r'\bid="([^"]*)"', page)
    assert len(names) == len(set(names))
    assert not re.findall(r'(?:src|href)="(?!#|data:)|<script|url\((?!#)', page)
    assert "#010203" not in page and "currentColor" in page


def test_lines_run_as_the_numbers_do(log: Path) -> None:
    shares = [1.0, 0.9, 0.5, 0.25, 0.3]
    page = page_of(log, [compressing(n, share) for n, share in enumerate(shares, start=1)])
    down = heights(plots(page)["kept"], "#3b76d6")
    np.testing.assert_allclose((down - down[0]) / (down[3] - down[0]), (1 - np.array(shares)) / 0.75, atol=1e-5)
    assert "layer2" in plots(page)["masked"]
    down = heights(plots(page)["masked"], "#e0792f")  # of layer2: 2 + 3 n
    np.testing.assert_allclose((down - down[0]) / (down[-1] - down[0]), [0, 0.25, 0.5, 0.75, 1], atol=1e-5)


@pytest.mark.parametrize("near", [True, False])
def test_the_map_has_a_cell_for_every_layer_and_epoch(log: Path, near: bool) -> None:
    page = page_of(log, [compressing(n, share, near) for n, share in ((1, 1.0), (2, 0.5), (4, 0.25))])
    drawing = plots(page)["widths"]
    pictures = [base64.b64decode("".join(text.split())) for text in re.findall(r"base64,([^\"]*)", drawing)]
    cells = max((cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) for png in pictures), key=len)
    assert cells.shape[:2] == (8 if near else 4, 4)
    assert (cells == cells[:1]).all()  # every layer shrinks alike
    assert len(np.unique(cells[0], axis=0)) == 4 and cells[0, 2, 3] == 0  # nothing was logged of epoch 3
    assert ("layer1.0 conv1" in drawing) == near and "layer2.1 conv2" in drawing
    assert ("No conv1 has lost a channel" in drawing) != near
    assert "2 / 8" in drawing and "4 / 16" in drawing


@pytest.mark.parametrize(("unit", "drawn"), [("macs", True), ("params", True), ("ms", False)])
def test_a_target_is_drawn_where_it_is_on_the_scale(log: Path, unit: str, drawn: bool) -> None:
    target = {"unit": unit, "share": 0.4}
    kept = plots(page_of(log, [compressing(1, 1.0, target=target), compressing(2, 0.6, target=target)]))["kept"]
    assert "The target is 40 % of the " in kept
    assert ("<li>" in kept and "target of the " in kept) == drawn


def test_params_are_of_the_first_epoch_where_the_whole_is_not_known(log: Path) -> None:
    kept = plots(page_of(log, [compressing(1, 0.5), compressing(2, 0.25)]))["kept"]
    assert "params, of those of epoch 1" in kept


def test_an_older_log_masks_without_stages(log: Path) -> None:
    page = page_of(log, [plain(1, masked=[1, 2, 3], macs=10, params=5), plain(2, masked=[4, 2, 3], macs=8, params=4)])
    assert list(plots(page)) == ["losses", "pace", "kept", "masked"] and "all stages" in page


def test_markup_is_escaped(tmp_path: Path) -> None:
    evil, folder = "<script>&\"'$x$_\ud800", tmp_path / "<b>&run"
    folder.mkdir()
    record = compressing(1, 1.0, losses={evil: 1.0}, validation=scores(**{evil: (1.0, 2.0)}))
    record |= {"target": {"unit": evil, "share": 0.5}, "whole": {evil: {evil: 4}}, "widths": {evil: {evil: 3}}}
    (folder / "log.jsonl").write_text(json.dumps(record) + "\n")
    page = write_report(folder).read_text()
    assert "<script" not in page and "<b>&run" not in page and "<h1>&lt;b&gt;&amp;run</h1>" in page
    assert "&lt;script&gt;&amp;" in plots(page)["widths"] and "loss &lt;script&gt;&amp;" in page


def test_half_a_line_and_what_is_no_record_are_passed_over(log: Path) -> None:
    write(log, [plain(1), plain(2)])
    whole = epochs_in(log)
    text = log.read_text()
    for end in (json.dumps(plain(3))[:40], '7\n[]\n{"epoch": "x"}\n\n{"epoch": true, "seconds": 1}\n', "[" * 99_999):
        log.write_text(text + end)
        assert epochs_in(log) == whole
    log.write_text(json.dumps(plain(2, seconds=7.0)) + "\n" + text)  # the later record of an epoch holds
    assert epochs_in(log) == whole


def test_what_is_no_number_is_not_there(log: Path) -> None:
    write(log, [plain(1, lr=float("nan"), macs="many", share=None, masked=7, losses={"a": float("inf"), "b": 2.0})])
    epoch = epochs_in(log)[0]
    assert (epoch.lr, epoch.macs, epoch.share, epoch.masked, epoch.losses) == (None, None, None, (), {"b": 2.0})


@pytest.mark.slow
def test_the_same_log_gives_the_same_page(log: Path) -> None:
    import matplotlib

    page = page_of(log, [compressing(1, 1.0, masked=None), compressing(2, 0.5, losses={"a": 1.0})])
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "svg.fonttype": "path"}):
        assert report_of(log) == page  # whatever a person's matplotlibrc says
    program = f"import pathlib; from vreid.train.report import report_of; print(report_of(pathlib.Path({str(log)!r})), end='')"
    environment = {**os.environ, "PYTHONHASHSEED": "5", "PYTHONIOENCODING": "utf-8"}
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    assert again.stdout.decode() == page


def test_it_is_refused_without_epochs(log: Path) -> None:
    with pytest.raises(Refused, match="give the folder"):
        write_report(log.parent)
    for text in ("", '{"epoch": 1, "los'):
        log.write_text(text)
        with pytest.raises(Refused, match="no complete epoch"):
            write_report(log.parent)
    assert [path.name for path in log.parent.iterdir()] == ["log.jsonl"]


def test_it_is_refused_without_matplotlib(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(Refused, match=r"pip install 'vreid\[train\]'"):
        page_of(log, [plain(1)])


def test_the_file_is_whole_or_not_there(log: Path) -> None:
    page = page_of(log, [{"epoch": 1, "losses": {}, "seconds": 3.0}])
    path = write_report(log.parent)
    assert path == log.parent / "report.html" and path.read_text() == page
    log.write_text("")
    with pytest.raises(Refused):
        write_report(log.parent)
    assert path.read_text() == page
    path.unlink()
    path.mkdir()  # a folder in its place
    log.write_text('{"epoch": 1, "losses": {}, "seconds": 3.0}\n')
    with pytest.raises(Refused, match="cannot write"):
        write_report(log.parent)
    assert sorted(item.name for item in log.parent.iterdir()) == ["log.jsonl", "report.html"]
