"""What people read of a site's thresholds says what they rest on."""

from typing import Any

import pytest

from vreid.runtime.threshold_summary import in_a_line, notes, rows, site_page


def pair(one: str, other: str, threshold: float, pairs: int, calibrated: str) -> dict[str, Any]:
    curve = [[0.5, 0.9], [0.7, 0.2], [threshold, 0.05]]
    origin = f"{calibrated} ({pairs} pairs)"
    return {"cameras": [one, other], "threshold": threshold, "pairs": pairs, "tracks": 2 * pairs,
            "calibrated": origin, "curve": curve}  # fmt: skip


GATE = pair("gate", "gate", 0.86, 1200, "site")
BOTH = pair("gate", "yard", 0.71, 3, "manifest and site")


def calibration(*pairs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "calibrated": "site",
        "false_match_rate": 0.05,
        "compared": 40.2,
        "others": 0.74,
        "cameras": pairs,
        **changes,
    }


FIXED = {"calibrated": "fixed"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (FIXED, "threshold: 0.62, fixed by --threshold"),
        (
            calibration(),
            "threshold: 0.74 at 5 % false matches among 40 vehicles, from the manifest: no certain strangers were seen",
        ),
        (
            calibration(GATE, BOTH),
            "threshold: 0.71 to 0.86 at 5 % false matches among 40 vehicles, from 1,203 pairs of strangers (2 pairs of "
            "cameras); 1 pair of cameras with few of them rests in part on the manifest; elsewhere the manifest's 0.74",
        ),
        (
            calibration(GATE, calibrated="frozen", false_match_rate=0.001, compared=0),
            "threshold: 0.86 at 0.1 % false matches among 1 vehicles, frozen, from 1,200 pairs of strangers (1 pair of "
            "cameras); elsewhere the manifest's 0.74",
        ),
    ],
)
def test_one_line(found: dict[str, Any], expected: str) -> None:
    assert in_a_line(found, 0.62) == expected


def test_notes_say_what_is_missing() -> None:
    assert len(notes(FIXED)) == 1
    assert "No certain strangers were seen yet: the threshold is 0.740, from the manifest" in notes(calibration())[1]
    said = " ".join(notes(calibration(GATE, BOTH), cameras=2))
    assert "Few strangers were seen by gate and yard: the manifest" in said and "--topology" not in said
    assert (
        "[topology] of the site's file, topology of a centre's [[region]], or --topology"
        in notes(calibration(GATE), cameras=2)[-1]
        and len(notes(calibration(GATE))) == 2
    )
    assert "Frozen" in notes(calibration(GATE, calibrated="frozen"))[1]
    many = [pair(f"c{place}", "gate", 0.7, 3, "manifest and site") for place in range(9)]
    assert "c5 and gate and 3 more pairs: the manifest" in notes(calibration(*many))[1]


def test_the_table_and_the_curves() -> None:
    found = calibration(BOTH, GATE)
    assert rows(found) == [
        ["gate and yard", "0.710", "manifest and site", "3", "6"],
        ["gate", "0.860", "site", "1,200", "2,400"],
    ]
    page = site_page(found, 2)
    assert [drawing.title for drawing in page.drawings] == ["gate", "gate and yard"]  # the most evidence first
    assert all("<polyline" in drawing.svg for drawing in page.drawings)
    cut = site_page(found, 2, most=1)
    assert [drawing.title for drawing in cut.drawings] == ["gate"] and len(cut.rows) == 2
    assert "Curves are drawn for the 1 pair of cameras" in cut.notes[-1] and cut.notes[:-1] == page.notes
    assert site_page(FIXED).drawings == site_page(FIXED).rows == []


def test_a_cameras_bias_and_what_people_said_are_sentences() -> None:
    ways = [
        {"cameras": ["gate", "yard"], "pairs": 40, "same": 36, "times": 2.5},
        {"cameras": ["yard", "gate"], "pairs": 8, "same": 0, "times": 1.0},
    ]
    base = {"calibrated": "site", "false_match_rate": 0.05, "compared": 20, "others": 0.6, "cameras": []}
    bias = [{"camera": "gate", "tracks": 1200, "taken_off": 0.214}, {"camera": "yard", "tracks": 30, "taken_off": 0.3}]
    said = notes({**base, "camera_bias": bias, "judged": {"pairs": 48, "same": 36, "enough": True, "ways": ways}}, 2)
    assert (
        "What each camera's features have in common is taken off them, which are 1 long: "
        "yard 0.30 (30 tracks), gate 0.21 (1,200 tracks)." in said
    )
    people = "People have judged 48 pairs near the threshold, 36 of them the same vehicle"
    assert f"{people}; so strangers may pass from gate to yard 2.5 times the requested rate (36 of 40)." in said
    few = {"pairs": 48, "same": 36, "enough": False, "ways": []}
    assert f"{people}: too few to move it." in notes({**base, "judged": few})
    still = {"pairs": 48, "same": 36, "enough": True, "ways": ways[1:]}
    assert f"{people}: the thresholds stay where they are." in notes({**base, "judged": still})
