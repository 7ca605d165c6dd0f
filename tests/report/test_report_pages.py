"""Pages escape what they are given, ask for their parts one by one, and are written complete or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from vreid.models.errors import Refused
from vreid.report.formats import jpeg_uri, large, number, percent
from vreid.report.page import Card, Picture, View, pieces, render, write_page

EVIL = "<script>\"'&</style>"


def card(vehicle: int) -> Card:
    return Card(vehicle, [View(EVIL, [EVIL], [Picture(b"x", EVIL, EVIL), Picture(b"", "", "")])], EVIL, "", EVIL)


def test_a_page_escapes_everything_and_may_fetch_nothing() -> None:
    page = render("gallery.html.j2", count=1234, name=EVIL, model=EVIL, cards=[card(7)], links=[], number=0)
    assert "<script" not in page and page.count("</style>") == 1 and page.count("&lt;script&gt;") == 9
    assert "1,234 vehicles of &lt;script&gt;" in page and jpeg_uri(b"x") in page and "no picture" in page
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page


def test_a_long_page_asks_for_its_cards_one_by_one() -> None:
    requested: list[int] = []

    def cards() -> Iterator[Card]:
        for vehicle in range(100):
            requested.append(vehicle)
            yield card(vehicle)

    text = ""
    for piece in pieces("gallery.html.j2", count=100, name="a", model="b", cards=cards(), links=[], number=0):
        text += piece
        assert len(requested) <= text.count("<article") + 1
    assert len(requested) == text.count("<article") == 100


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="model"):
        render("gallery.html.j2", count=1, name="a", cards=[])


def test_a_page_is_written_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert write_page(path, "a\udce9") == path and path.read_text() == "a?"

    def broken() -> Iterator[str]:
        yield "half"
        raise ValueError

    with pytest.raises(ValueError):
        write_page(path, broken())
    assert path.read_text() == "a?" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(Refused, match=r"cannot write .*nowhere"):
        write_page(tmp_path / "nowhere" / "page.html", "text")


def test_numbers_as_people_write_them() -> None:
    assert (number(1234.56, 1), number(1234, group=False), number(None), number(True)) == ("1,234.6", "1234", "–", "–")  # noqa: RUF001
    assert (percent(0.874), percent(None), large(1_912_345), large(5)) == ("87.4 %", "–", "1.91 M (1,912,345)", "5")  # noqa: RUF001
