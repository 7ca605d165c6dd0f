"""`vreid verify`: a lowered model against what it was lowered from; its accuracy and threshold into its manifest."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import refuse_read, test_part, warn_if_checkpoint_learnt
from vreid.deploy.settings import Bounds
from vreid.models.errors import Refused, refuse_beyond, refuse_threads

if TYPE_CHECKING:
    from vreid.deploy.verify import Verification


@dataclass(frozen=True)
class Args:
    """Does the lowered model still retrieve? Exit code 1 with every reason if not; else its manifest gets accuracy and match."""

    candidate: Annotated[str, tyro.conf.Positional]
    """Manifest .json of the lowered model."""
    against: str
    """Checkpoint .pt, manifest .json or the name of a bundled model that it was lowered from."""
    data: Path
    """A folder in a layout of docs/data.md, or a CSV file; the test part is used. Of train.csv and test.csv, test.csv."""
    bounds: tyro.conf.OmitArgPrefixes[Bounds] = field(default_factory=Bounds)
    threads: int = 1
    """CPU threads."""
    report: Path | None = None
    """Write an HTML page with the figures and the curve of the threshold."""
    json: bool = False
    """Print one JSON document."""
    dry_run: bool = False
    """Verify and leave the manifest as it is."""


def main(args: Args) -> int:
    from vreid.deploy.verify import record, verify
    from vreid.models.zoo import ZOO, manifest_path

    refuse_beyond(gallery_size=args.bounds.gallery_size)
    refuse_threads(args.threads)
    path = manifest_path(args.candidate)
    if path.parent == ZOO and not args.dry_run:
        raise Refused(f"{path.stem} came with the package and stays as it is; copy it, or add --dry-run")
    data = test_part(args.data)
    if args.report is not None:
        refuse_read(args.report, (str(path), args.against), data, args.data)
    with output.counting("embedding by both") as count:
        result = verify(path, args.against, data, args.bounds, args.threads, count)
    trained = warn_if_checkpoint_learnt(args.against, data)
    written = result.passed and not args.dry_run and not trained
    if args.report is not None:
        from vreid.deploy.verify import write_verify_page

        write_verify_page(result, args.report)
    if written:
        record(path, result)
    if args.json:
        output.document({"passed": result.passed, **asdict(result), "written": written, "trained_on": trained})
    else:
        _say(result, path if written else None)
    if result.passed and trained and not args.dry_run:
        output.note(
            f"note: accuracy and threshold of learnt pictures are no measurement, so {path} keeps its own; verify on others"
        )
    return 0 if result.passed else 1


def _say(result: "Verification", written: Path | None) -> None:
    from vreid.deploy.precision import share_text

    before, after, near, match = result.before, result.after, result.agreement, result.match
    rows = [
        ("mAP", f"{before.map:.2f}", f"{after.map:.2f}"),
        ("Rank-1", f"{before.rank1:.2f}", f"{after.rank1:.2f}"),
        ("same first vehicle", "", f"{100 * result.top1:.1f} %"),
    ]
    if result.cross_map is not None:
        rows.append(("mAP, gallery by the reference", "", f"{result.cross_map:.2f}"))
    if result.shares is not None:
        rows.append(("MACs", "", share_text(result.shares)))
    sizes = [way for way in result.ways if way.sound]
    rows.append(("batch sizes and orders that agree", "", f"{len(sizes)} of {len(result.ways)}"))
    if near is not None:
        rows.append(("cosine: least", "", f"{near.cosine_min:.5f}"))
        rows.append(("cosine: 1st percentile", "", f"{near.cosine_p1:.5f}"))
        rows.append((f"cosine: mean (least {result.min_cosine:g})", "", f"{near.cosine_mean:.5f}"))
        rows.append(("largest error", "", f"{near.error_max:.5f}"))
    if match is not None:
        share = f"{100 * match.false_match_rate:.4g} % of strangers, gallery of {match.gallery}"
        rows.append((f"threshold ({share})", "", f"{match.threshold:.4f}"))
        rows.append(("known vehicles missed at it", "", f"{100 * match.miss_rate:.1f} %"))
    said = "passed" if result.passed else "failed"
    title = f"{result.candidate} {said} on {result.pictures} pictures of {result.data}"
    output.table(title, ("", result.reference, result.candidate), rows)
    for reason in result.reasons:
        output.error(reason)
    if match is not None and not result.match_is_of_use:
        output.note(
            f"note: at this threshold {100 * match.miss_rate:.0f} % of known vehicles are missed, so the manifest keeps its own; "
            "these pictures do not separate vehicles so strictly: give a --false-match-rate or a smaller --gallery-size"
        )
    if written is not None:
        what = "accuracy and match" if result.match_is_of_use else "accuracy"
        output.result(f"wrote {what} into {written}")
