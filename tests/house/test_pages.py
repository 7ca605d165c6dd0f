"""Every link of a page to a file or a heading of the repository leads somewhere, and its lines can be read in a diff."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
WIDEST = 132  # of a line that is neither of a table nor of code
WIDER = {"docs/api.md"}  # it is generated
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors_of(page: str) -> set[str]:
    """What GitHub calls the headings of a page: small letters, no marks but - and _, blanks as -."""
    heads = re.findall(r"^#+ +(.*)$", CODE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lost = []
    for link in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors_of(target.read_text(encoding="utf-8"))):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_lines_are_not_too_long(page: Path) -> None:
    prose = CODE.sub("", page.read_text(encoding="utf-8")).splitlines()
    long = [line for line in prose if len(line) > WIDEST and not line.lstrip().startswith("|") and line[:4] != " " * 4]
    assert page.relative_to(ROOT).as_posix() in WIDER or long == []


def test_the_anchors_are_those_of_the_headings() -> None:
    page = "# A: `b c`\n```\n# no heading\n```\n## On roadside's test part\n"
    assert anchors_of(page) == {"a-b-c", "on-roadsides-test-part"}
