"""The thresholds of a run or of a gallery for people: in a line, as the rows of a table, as curves.

`calibration` is what `Threshold.summary` of site_threshold.py gives, and what report.json holds under that name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vreid.report.charts import Drawing
from vreid.report.curve import falling_curve
from vreid.report.formats import number
from vreid.runtime.judged_pairs import FEWEST

HEAD = ("cameras", "threshold", "comes from", "pairs of strangers", "their tracks")
MOST_DRAWINGS = 24  # on a page of a run
_MOST_NAMED = 6

Calibration = Mapping[str, Any]


@dataclass(frozen=True)
class SitePage:
    """What a page shows: sentences, a table, curves."""

    notes: list[str]
    head: tuple[str, ...]
    rows: list[list[str]]
    drawings: list[Drawing]


def in_a_line(calibration: Calibration, prior: float) -> str:
    """One sentence; `prior` is the threshold that was fixed, or the manifest's."""
    if calibration["calibrated"] == "fixed":
        return f"threshold: {prior:.2f}, fixed by --threshold"
    rate = f"at {_rate(calibration)} false matches among {_compared(calibration)} vehicles"
    frozen = ", frozen" if calibration["calibrated"] == "frozen" else ""
    pairs = calibration["cameras"]
    if not pairs:
        return (
            f"threshold: {calibration['others']:.2f} {rate}{frozen}, from the manifest: no certain strangers were seen"
        )
    heights = sorted(pair["threshold"] for pair in pairs)
    span = f"{heights[0]:.2f}" if len(pairs) == 1 else f"{heights[0]:.2f} to {heights[-1]:.2f}"
    strangers = sum(pair["pairs"] for pair in pairs)
    line = f"threshold: {span} {rate}{frozen}, from {number(strangers)} pairs of strangers ({_count(len(pairs))})"
    if few := _few(calibration):
        line += f"; {_count(len(few))} with few of them {'rests' if len(few) == 1 else 'rest'} in part on the manifest"
    return f"{line}; elsewhere the manifest's {calibration['others']:.2f}"


def notes(calibration: Calibration, cameras: int = 1) -> list[str]:
    """What the numbers mean and what they rest on, a sentence each; `cameras`: of the run, or of the evidence."""
    if calibration["calibrated"] == "fixed":
        return ["One threshold for all cameras, as --threshold gave it; nothing was learnt at this site."]
    found = [
        f"Requested: at most {_rate(calibration)} of the new vehicles get the id of another one, when each is compared with "
        f"{_compared(calibration)} vehicles."
    ]
    if calibration["calibrated"] == "frozen":
        found.append("Frozen: nothing more is learnt until vreid gallery threshold --unfreeze.")
    pairs = calibration["cameras"]
    if few := _few(calibration):
        more = f" and {len(few) - _MOST_NAMED} more pairs" if len(few) > _MOST_NAMED else ""
        found.append(
            f"Few strangers were seen by {', '.join(few[:_MOST_NAMED])}{more}: the manifest counts for much there."
        )
    manifests = f"{calibration['others']:.3f}, from the manifest and the number of vehicles alone"
    if not pairs:
        found.append(f"No certain strangers were seen yet: the threshold is {manifests}.")
    else:
        found.append(f"For pairs of cameras that are not listed it is {manifests}.")
    if cameras > 1 and not any(one != other for one, other in (pair["cameras"] for pair in pairs)):
        found.append(
            "Strangers in two cameras are only certain where the topology lists the two without overlap: [topology] of the site's "
            "file, topology of a centre's [[region]], or --topology."
        )
    found += [*_bias(calibration), *_judged(calibration)]
    ways = sorted(calibration.get("travel_times", ()), key=lambda way: -way["matches"])
    found += [_way(way) for way in ways[:_MOST_NAMED]]
    if len(ways) > _MOST_NAMED:
        found.append(f"Travel times of {len(ways) - _MOST_NAMED} more ways are in report.json.")
    return found


def rows(calibration: Calibration) -> list[list[str]]:
    """The cells of HEAD for each pair of cameras that something was learnt of."""
    return [
        [_named(pair), f"{pair['threshold']:.3f}", _origin(pair), number(pair["pairs"]), number(pair["tracks"])]
        for pair in calibration.get("cameras", ())
    ]


def site_page(calibration: Calibration, cameras: int = 1, most: int | None = None) -> SitePage:
    """All of it; `most`: curves, those of the pairs with the most evidence."""
    pairs = sorted(calibration.get("cameras", ()), key=lambda pair: -pair["pairs"])[:most]
    drawings = [
        falling_curve(
            Drawing(f"threshold-{place}", _named(pair), f"{pair['threshold']:.3f}, from {pair['calibrated']}"),
            pair["curve"],
            pair["threshold"],
            calibration["false_match_rate"],
        )
        for place, pair in enumerate(pairs, 1)
    ]
    said = notes(calibration, cameras)
    left = len(calibration.get("cameras", ())) - len(drawings)
    if left:
        said.append(f"Curves are drawn for the {_count(len(drawings))} with the most strangers.")
    return SitePage(said, HEAD, rows(calibration), drawings)


def _named(pair: Mapping[str, Any]) -> str:
    one, other = pair["cameras"]
    return str(one) if one == other else f"{one} and {other}"


def _bias(calibration: Calibration) -> list[str]:
    """What is taken off the cameras' features."""
    rows = sorted(calibration.get("camera_bias", ()), key=lambda row: -row["taken_off"])
    if not rows:
        return []
    parts = [f"{row['camera']} {row['taken_off']:.2f} ({number(row['tracks'])} tracks)" for row in rows[:_MOST_NAMED]]
    more = f" and {len(rows) - _MOST_NAMED} more cameras" if len(rows) > _MOST_NAMED else ""
    done = "is taken off them" if calibration.get("bias_taken_off", True) else "would be taken off them"
    common = f"What each camera's features have in common {done}, which are 1 long: {', '.join(parts)}{more}."
    return [common, about_bias(calibration.get("bias_gain"), calibration.get("bias_taken_off", True))]


def about_bias(gain: Mapping[str, Any] | None, taken_off: bool) -> str:
    """A sentence on whether the cameras' bias is taken off and why; `gain`: a `BiasGain` as a dict."""
    confirmed = 0 if gain is None else gain["confirmed"]
    if gain is None or confirmed < FEWEST:
        return (
            f"Whether taking off the cameras' bias helps here is not known: {number(confirmed)} confirmed pairs of cameras with "
            f"enough tracks and strangers, of {FEWEST} at least; without them it is taken off."
        )
    found = f"of {number(confirmed)} confirmed pairs {number(gain['confirmed_without'])} are found without it and "
    found += f"{number(gain['confirmed_raw'])} by raw features, at {100 * gain['rate']:g} % false matches"
    if gain["rejected"]:
        found += (
            f" (of {number(gain['rejected'])} rejected pairs {number(gain['rejected_without'])} and "
            f"{number(gain['rejected_raw'])})"
        )
    return f"The cameras' bias is {'taken off' if taken_off else 'left'}: {found}."


def _judged(calibration: Calibration) -> list[str]:
    """What people have said, and what that makes of the requested rate."""
    judged = calibration.get("judged", {})
    if not judged.get("pairs"):
        return []
    pairs, same = number(judged["pairs"]), number(judged["same"])
    said = f"People have judged {pairs} pairs near the threshold, {same} of them the same vehicle"
    if not judged["enough"]:
        return [f"{said}: too few to move it."]
    moved = [way for way in judged["ways"] if way["times"] != 1]
    if not moved:
        return [f"{said}: the thresholds stay where they are."]
    most = sorted(moved, key=lambda way: -way["pairs"])[:_MOST_NAMED]
    parts = [
        f"from {view} to {camera} {way['times']:g} times the requested rate ({way['same']} of {way['pairs']})"
        for way in most
        for view, camera in [way["cameras"]]
    ]
    more = f", and {len(moved) - len(most)} more" if len(moved) > len(most) else ""
    return [f"{said}; so strangers may pass {', '.join(parts)}{more}."]


def _way(way: Mapping[str, Any]) -> str:
    one, other = way["cameras"]
    early, middle, late = way["seconds"]
    return (
        f"From {one} to {other} most take {early:g} to {late:g} s, half of them at most {middle:g} s (matches: "
        f"{number(way['matches'])}): who comes then may look a little less alike, who does not a little more."
    )


def _origin(pair: Mapping[str, Any]) -> str:
    """Without the number of pairs, which has a cell of its own."""
    return str(pair["calibrated"]).partition(" (")[0]


def _few(calibration: Calibration) -> list[str]:
    return [_named(pair) for pair in calibration["cameras"] if pair["calibrated"].startswith("manifest")]


def _rate(calibration: Calibration) -> str:
    return f"{100 * calibration['false_match_rate']:g} %"


def _compared(calibration: Calibration) -> str:
    return number(max(1, round(calibration["compared"])))


def _count(pairs: int) -> str:
    return f"{pairs} pair of cameras" if pairs == 1 else f"{pairs} pairs of cameras"
