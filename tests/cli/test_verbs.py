"""Which verb and sub-verb a command means, what is said of one that is not there, and whose help is named."""

from pathlib import Path

import pytest

from vreid.cli.main import main


def test_a_verb_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoom"]) == 2
    assert capsys.readouterr().err == "vreid: there is no verb 'zoom' (vreid --help lists all)\n"
    assert main(["gallery", "burn"]) == 2
    assert capsys.readouterr().err == "vreid: there is no verb 'gallery burn' (vreid gallery --help lists all)\n"


def test_a_misspelt_verb_gets_the_one_that_is_near(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["exprot", "best.pt"]) == 2
    assert (
        capfd.readouterr().err == "vreid: there is no verb 'exprot'; did you mean 'export'? (vreid --help lists all)\n"
    )


@pytest.mark.parametrize(
    ("words", "near"),
    [("gallery serach", "search"), ("train studnet", "student"), ("synth cty", "city"), ("eval rn", "run")],
)
def test_a_misspelt_sub_verb_gets_the_one_that_is_near(
    words: str, near: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "x"]) == 2
    verb = words.split()[0]
    assert capfd.readouterr().err == (
        f"vreid: there is no verb '{words}'; did you mean '{near}'? (vreid {verb} --help lists all)\n"
    )


def test_a_model_named_like_a_sub_verb_is_still_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("")
    assert main(["eval", "runs", "--data", "absent"]) == 2
    assert "there is no verb" not in capfd.readouterr().err


def test_help_of_eval_says_where_the_flags_of_the_short_form_are(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    assert "vreid eval retrieval --help" in capfd.readouterr().out


def test_help_is_named_where_the_flag_is(capsys: pytest.CaptureFixture[str]) -> None:
    for words, help_of in (
        ("eval vreid-s --data d --camera-bais", "vreid eval retrieval --help"),
        ("train teacher --sise 32", "vreid train teacher --help"),
        ("gallery list", "vreid gallery list --help"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(words.split())
        assert help_of in capsys.readouterr().err
    assert main(["train", "--data", "d"]) == main(["train"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert (
        first
        == second
        == "vreid: after vreid train comes what it is to do: teacher, student (vreid train --help says more)"
    )
