"""The seam of sinks: what a run writes, one finished track at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from vreid.models.seam import open_seam
from vreid.runtime.records import FinishedTrack, Match, Trace

SINKS = {
    "jsonl": "vreid.runtime.sinks.jsonl:open_jsonl",
    "mot": "vreid.runtime.sinks.mot:open_mot",
    "report": "vreid.runtime.sinks.report:open_report",
}


class Sink(Protocol):
    """Writes into the folder it was opened with. Bounded memory, however long the run."""

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        """Once per finished track, its identity decided; `match.vehicle` is None if unknown and not enrolled."""
        ...

    def close(self, summary: Mapping[str, Any]) -> None:
        """Once, at the end of the run; `summary` is what the run counted and timed, by name."""
        ...


def open_sink(name: str, folder: Path) -> Sink:
    """The sink `name`, writing into `folder`. Refused: an unknown name."""
    return cast(Sink, open_seam("sink", SINKS, name)(folder))
