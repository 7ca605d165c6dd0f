"""`vreid gallery VERB`: the vehicles that are known. The flags and functions of the verbs stand in the files gallery_*.py."""

from typing import Annotated, Any, Union

from tyro.conf import subcommand

from vreid.cli import gallery_doubtful as doubts
from vreid.cli import gallery_enrolling as enrolling
from vreid.cli import gallery_index as indexing
from vreid.cli import gallery_reading as reading
from vreid.cli import gallery_threshold as site
from vreid.cli import gallery_writing as writing

_VERBS: dict[str, tuple[type, Any]] = {
    "enrol": (enrolling.Enrol, enrolling.enrol),
    "search": (enrolling.Search, enrolling.search),
    "list": (reading.List, reading.list_),
    "show": (reading.Show, reading.show),
    "stats": (reading.Stats, reading.stats),
    "audit": (reading.Audit, reading.audit),
    "threshold": (site.Threshold, site.threshold),
    "doubtful": (doubts.Doubtful, doubts.doubtful),
    "confirm": (doubts.Confirm, doubts.confirm),
    "reject": (doubts.Reject, doubts.reject),
    "calibrate": (doubts.Calibrate, doubts.calibrate),
    "rename": (writing.Rename, writing.rename),
    "merge": (writing.Merge, writing.merge),
    "split": (writing.Split, writing.split),
    "undo": (writing.Undo, writing.undo),
    "remove": (writing.Remove, writing.remove),
    "clean": (writing.Clean, writing.clean),
    "purge": (writing.Purge, writing.purge),
    "retain": (writing.Retain, writing.retain),
    "check": (writing.Check, writing.check),
    "index": (indexing.Index, indexing.index),
    "reindex": (writing.Reindex, writing.reindex),
    "backup": (writing.Backup, writing.backup),
    "export": (writing.Export, writing.export),
    "import": (writing.Import, writing.import_),
}
Args: Any = Union[tuple(Annotated[flags, subcommand(verb)] for verb, (flags, _) in _VERBS.items())]  # noqa: UP007


def main(args: object) -> int:
    """Carry one verb out; exit code 0, 1 (check found something wrong)."""
    return int(dict(_VERBS.values())[type(args)](args))
