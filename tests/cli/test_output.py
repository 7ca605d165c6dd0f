"""What a verb says is what it was given: names of files and vehicles are text, never markup."""

from pathlib import Path

import pytest
from rich.console import Console

from vreid.cli import output
from vreid.cli.run import print_summary

COUNTS = (
    "vehicles",
    "known",
    "enrolled",
    "seen_by_several",
    "unknown",
    "doubtful",
    "withheld",
    "frames_per_second",
    "peak_memory_mb",
)


def test_brackets_are_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=160, record=True, quiet=False, file=Path("/dev/null").open("w"), soft_wrap=True)  # noqa: SIM115
    monkeypatch.setattr(output, "results", lambda: console)
    output.table("[/x] of [red]", ("vehicle", "id"), [("[bold]van", 1)])
    print_summary(
        {
            "cameras": {},
            "stages": {},
            "identity": None,
            "threshold": 0.9,
            "calibration": {"calibrated": "fixed"},
            "embedding": "smart",
            "embedded": 1,
            "passed_over": 2,
            "detector": "[motion]",
            "outside": 0.1,
            **dict.fromkeys(COUNTS, 1),
        },
        Path("[/y] [blue]"),
    )
    said = console.export_text()
    for text in ("found by [motion]", "[/x] of [red]", "[bold]van", "report: [/y] [blue]/report.html"):
        assert text in said


def test_a_refusal_is_one_line_without_control_letters(capsys: pytest.CaptureFixture[str]) -> None:
    output.error("there is no\r\n  setting 'a\u2028b\x1b[31m'; give\x00 another\n")
    assert capsys.readouterr().err == "vreid: there is no setting 'a b?[31m'; give? another\n"


def test_progress_in_a_log_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    output.console.cache_clear()
    with output.ProgressLines(lambda: now) as bar:
        task = bar.add_task("embedding", total=None)
        for now in range(1, 101):
            bar.update(task, completed=2 * now, total=200)
    output.console.cache_clear()
    assert capsys.readouterr().err.splitlines() == [
        f"embedding: {2 * second} of 200, {second} s" for second in (10, 20, 40, 80)
    ]
