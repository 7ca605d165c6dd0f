"""`vreid gallery VERB` as the tests run it: one JSON document, or one sentence of a refusal."""

import json
from typing import Any

import pytest

from vreid.cli.main import main


def document(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """The one JSON document of a run, in which NaN and infinity are not allowed."""
    assert main(["gallery", *map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The sentence of a run that is refused."""
    assert main(["gallery", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err
