"""`report.html`, one page that shows what a run saw, and `report.json`, its summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vreid.models.files import write_atomic
from vreid.runtime.records import Match, Sighting, Trace
from vreid.runtime.sinks.album import Album
from vreid.runtime.sinks.jsonl import json_text
from vreid.runtime.sinks.page import page


class ReportSink:
    """Remembers pictures while the run lasts; writes at its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._album = Album()

    def sighting(self, sighting: Sighting, match: Match, trace: Trace) -> None:
        """Remember its picture, encoded, and its times."""
        self._album.add(sighting, match)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write both files, each whole or not at all."""
        write_atomic(self._folder / "report.json", json_text(summary, indent=2) + "\n")
        write_atomic(self._folder / "report.html", page(summary, self._album))


def open_report(folder: Path) -> ReportSink:
    """The sink of `folder`/report.html and report.json, written at the end of the run."""
    return ReportSink(folder)
