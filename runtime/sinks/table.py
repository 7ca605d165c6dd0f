"""The seam of sinks: what a run writes, one finished track at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.records import Match, Sighting, Trace

SINKS = {
    "jsonl": "vreid.runtime.sinks.jsonl:open_jsonl",
    "mot": "vreid.runtime.sinks.mot:open_mot",
    "report": "vreid.runtime.sinks.report:open_report",
}


class Sink(Protocol):
    """Writes into the folder it was opened with. Bounded memory, however long the run."""

    def sighting(self, sighting: Sighting, match: Match, trace: Trace) -> None:
        """Once per finished track, its identity decided; `match.vehicle` is None if unknown and not enrolled."""
        ...

    def close(self, summary: Mapping[str, Any]) -> None:
        """Once, at the end of the run; `summary` is what the run counted and timed, by name."""
        ...


def open_sink(name: str, folder: str | Path) -> Sink:
    """The sink `name`, writing into `folder`, which is made. Refused: an unknown name, a folder that cannot be made."""
    opened = open_seam("sink", SINKS, name)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return cast(Sink, opened(folder))
    except OSError as error:
        raise Refused(f"cannot write into {folder} ({error.strerror}); give a folder that you may write to") from error
