"""A damaged or lost file of tokens: nobody is let in, and one sentence says what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_site import API, MODEL, MadeSite, Served, served_here

from vreid.cli.main import main
from vreid.serve.rights import TokenFile, TokensUnusable


def changed(**changes: object) -> Callable[[Path], object]:
    """Gives its first token another field."""

    def change(file: Path) -> None:
        document = json.loads(file.read_text())
        document["tokens"][0].update(changes)
        file.write_text(json.dumps(document))

    return change


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: file.write_text("{"),
    "a list": lambda file: file.write_text("[]"),
    "deep": lambda file: file.write_text("[" * 100_000),
    "no UTF-8": lambda file: file.write_bytes(b'{"secret": "\xff", "tokens": []}'),
    "a secret that is a number": lambda file: file.write_text('{"secret": 7, "tokens": []}'),
    "a hash that is a number": changed(hash=7),
    "a hash that is not ASCII": changed(hash="ü" * 64),
    "a role that there is not": changed(role="owner"),
    "a time that is text": changed(made="now"),
    "cameras that are text": changed(cameras="gate"),
    "a link to itself": loop,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_nobody_is_let_in_by_a_damaged_file(made_site: MadeSite, damage: Callable[[Path], object]) -> None:
    with served_here(made_site) as served, served.client("admin") as client, served.client() as nobody:
        assert client.get("/readyz").status_code == client.get(f"{API}/vehicles").status_code == 200
        damage(made_site.tokens.path)
        for each in (client, nobody):
            answer = each.get(f"{API}/vehicles")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "gallery.db.tokens cannot be used" in answer.json()["detail"]
            assert str(made_site.folder) not in answer.text
        assert client.get("/readyz").status_code == 503
        with pytest.raises(TokensUnusable):
            made_site.tokens.revoke("look")


def test_a_server_does_not_start_with_a_damaged_file(made_site: MadeSite, capsys: pytest.CaptureFixture[str]) -> None:
    made_site.tokens.path.write_text("{")
    words = ["serve", "--gallery", str(made_site.gallery), "--model", MODEL, "--port", "0"]
    assert main(words) == 2
    assert "gallery.db.tokens cannot be used" in capsys.readouterr().err


def test_a_server_whose_tokens_are_lost_stays_closed(served: Served) -> None:
    with served.client("admin") as client, served.client() as nobody:
        assert nobody.get(f"{API}/vehicles").status_code == 401
        served.site.tokens.path.unlink()
        assert [each.get(f"{API}/vehicles").status_code for each in (client, nobody)] == [401, 401]


def test_a_server_that_begins_without_tokens_is_closed_by_the_first(open_site: MadeSite) -> None:
    with served_here(open_site) as served, served.client() as nobody:
        assert nobody.get(f"{API}/vehicles").status_code == 200
        TokenFile(open_site.tokens.path).add("anna", "look")
        assert nobody.get(f"{API}/vehicles").status_code == 401
        open_site.tokens.revoke("anna")
        assert nobody.get(f"{API}/vehicles").status_code == 401
