"""`vreid gallery VERB`: the vehicles that are known. The flags and functions of the verbs stand in the files gallery_*.py."""

from collections.abc import Callable
from typing import Annotated, Any

from tyro.conf import subcommand

from vreid.cli.gallery_editing import Merge, Remove, Rename, Split, Undo, merge, remove, rename, split, undo
from vreid.cli.gallery_enrolling import Enrol, Search, enrol, search
from vreid.cli.gallery_maintenance import (
    Check,
    Export,
    Import,
    Purge,
    Reindex,
    Retain,
    check,
    export,
    import_,
    purge,
    reindex,
    retain,
)
from vreid.cli.gallery_reading import Audit, List, Show, Stats, audit, list_, show, stats

Args = (
    Annotated[Enrol, subcommand("enrol")]
    | Annotated[Search, subcommand("search")]
    | Annotated[List, subcommand("list")]
    | Annotated[Show, subcommand("show")]
    | Annotated[Stats, subcommand("stats")]
    | Annotated[Audit, subcommand("audit")]
    | Annotated[Rename, subcommand("rename")]
    | Annotated[Merge, subcommand("merge")]
    | Annotated[Split, subcommand("split")]
    | Annotated[Undo, subcommand("undo")]
    | Annotated[Remove, subcommand("remove")]
    | Annotated[Purge, subcommand("purge")]
    | Annotated[Retain, subcommand("retain")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Reindex, subcommand("reindex")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Import, subcommand("import")]
)
_VERBS: dict[type, Callable[[Any], int]] = {
    Enrol: enrol, Search: search, List: list_, Show: show, Stats: stats, Audit: audit, Rename: rename, Merge: merge,
    Split: split, Undo: undo, Remove: remove, Purge: purge, Retain: retain, Check: check, Reindex: reindex,
    Export: export, Import: import_,
}  # fmt: skip


def main(args: object) -> int:
    """Carry one verb out; exit code 0, 1 (check found something wrong)."""
    return _VERBS[type(args)](args)
