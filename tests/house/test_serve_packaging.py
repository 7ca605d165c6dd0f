"""The unit and the container that serve, and NOTICE: they agree with those that run, with the command line and with the pages."""

import configparser
import re
import sys
from pathlib import Path

from vreid.cli.main import parsed
from vreid.cli.serve import Args

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging" / "vreid-serve.service"
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def unit(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None, comment_prefixes="#", delimiters="=")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path, encoding="utf-8")
    return {name: dict(parser[name]) for name in parser.sections()}


def test_the_unit_is_that_of_the_run_but_for_what_it_starts() -> None:
    run, serve = unit(UNIT.with_name("vreid.service")), unit(UNIT)
    keys = {(part, key) for one in (run, serve) for part in one for key in one[part]}
    other = {(part, key) for part, key in keys if run[part].get(key) != serve[part].get(key)}

    assert other == {
        ("Unit", "Description"),
        ("Unit", "Documentation"),
        ("Unit", "Conflicts"),
        ("Service", "ExecStart"),
    }
    assert serve["Unit"]["Conflicts"] == "vreid.service"  # one process writes to a gallery
    program, verb, *words = serve["Service"]["ExecStart"].split()
    assert (program, verb) == ("/opt/vreid/bin/vreid", "serve")
    args = parsed(Args, "vreid serve", ["run", *words])  # type: ignore[arg-type]
    assert (str(args.site), args.host, args.port) == ("/etc/vreid/site.toml", "127.0.0.1", 8080)  # type: ignore[union-attr]


def test_the_container_starts_what_the_unit_starts() -> None:
    text = (ROOT / "packaging" / "compose.yaml").read_text(encoding="utf-8")
    part = text.partition("\n  serve:\n")[2].partition("\nvolumes:")[0]
    words = unit(UNIT)["Service"]["ExecStart"].split()[1:]
    command = re.search(r"command: \[(.*)\]", part)
    assert command is not None and [word.strip(' "') for word in command[1].split(",")] == words
    assert (
        "http://127.0.0.1:8080/readyz" in part
        and "profiles: [serve]" in part
        and "serve" in re.findall(r"EXTRAS: \"(.*)\"", part)[0]
    )


def test_notice_names_what_is_contained_and_what_the_extra_needs() -> None:
    text = (ROOT / "NOTICE").read_text(encoding="utf-8").lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["optional-dependencies"]["serve"]:
        assert re.split(r"[>=<]", line)[0].lower() in text
    scripts = [path.name for path in (ROOT / "serve" / "static").glob("*.min.js")]
    assert scripts and all(name in text for name in scripts)
    version = re.search(r'version:"([0-9.]+)"', (ROOT / "serve" / "static" / "htmx.min.js").read_text(encoding="utf-8"))
    assert version is not None and f"htmx {version[1]}" in text
    assert {"LICENSE", "NOTICE"} <= {*project["license-files"]}
    assert "NOTICE" in PAGE


def test_the_page_names_every_flag_of_the_server() -> None:
    flags = {f"--{name.replace('_', '-')}" for name in Args.__args__[0].__origin__.__annotations__}  # type: ignore[attr-defined]
    assert {flag for flag in flags if flag not in PAGE} <= {"--site", "--threads"}
