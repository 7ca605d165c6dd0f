"""The API as its OpenAPI document describes it, held to it by schemathesis with all checks on a real server."""

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
from made_site import API, ROOT_OF_KIT, MadeSite, Served, served_here
from pydantic import BaseModel

from vreid.serve import documents


def schemathesis(served: Served, mode: str, examples: int, phases: str, seed: int) -> str:
    """What `schemathesis run` prints; it has to find nothing. The endless stream of events is tested elsewhere.

    Each mode has all checks but the one for requests of the other mode: schemathesis takes a file in a form for invalid text.
    Nothing is invalid where If-None-Match is all that a route takes: such a route is left out of the negative mode.
    """
    token = served.site.given["admin"]
    words = ["-m", "schemathesis.cli", "run", f"{served.url}{API}/openapi.json", "--checks", "all", "--seed", str(seed)]
    words += ["--header", f"Authorization: Bearer {token}", "--exclude-path", f"{API}/events", "--phases", phases]
    words += ["--max-examples", str(examples), "--continue-on-failure", "--no-color", "--request-timeout", "60"]
    other = {"positive": "negative_data_rejection", "negative": "positive_data_acceptance"}[mode]
    words += ["--generation-database", "none", "--mode", mode, "--exclude-checks", other]
    if mode == "negative":
        words += ["--suppress-health-check", "filter_too_much"]
        words += ["--exclude-path", f"{API}/cameras", "--exclude-path", f"{API}/health"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(ROOT_OF_KIT)}
    ran = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, cwd=served.site.folder
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Authentication failed" not in ran.stdout, ran.stdout
    return ran.stdout


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed; pip install vreid[dev]")
@pytest.mark.parametrize(
    "mode, examples, phases",
    [
        ("positive", 1, "examples"),
        pytest.param("positive", 30, "examples,coverage,fuzzing,stateful", marks=pytest.mark.slow),
        pytest.param("negative", 30, "coverage,fuzzing", marks=pytest.mark.slow),
    ],
)
def test_schemathesis_finds_nothing(made_site: MadeSite, mode: str, examples: int, phases: str) -> None:
    with served_here(made_site) as server:
        printed = schemathesis(server, mode, examples, phases, seed=1)
        with server.client("admin") as client:
            assert client.get("/readyz").status_code == 200
    assert ("23/26" if mode == "negative" else "25/26") in printed


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(verb, path, about) for path, verbs in document["paths"].items() for verb, about in verbs.items()]


@pytest.fixture(scope="module")
def document(looked_at: Served) -> dict[str, Any]:
    with looked_at.client() as client:
        found: dict[str, Any] = client.get(f"{API}/openapi.json").json()
        return found


def test_every_operation_says_its_rights_and_its_problems(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    for verb, path, about in operations(document):
        answers = about["responses"]
        assert {"401", "403", "422", "429", "500", "503"} <= set(answers), (verb, path)
        for status, answer in answers.items():
            if int(status) >= 400 and status != "416":
                assert list(answer["content"]) == ["application/problem+json"], (verb, path, status)
        names = [one["name"] for one in about.get("parameters", ())]
        assert ("If-None-Match" in names) == ("304" in answers), (verb, path)
        if verb != "get" and "search" not in path:
            assert "Idempotency-Key" in names, (verb, path)


def test_every_document_has_an_example_that_is_one(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        if name.startswith(("Body_", "Page_")):
            continue
        model = getattr(documents, name)
        assert issubclass(model, BaseModel)
        model.model_validate(example_of(schema, document["components"]["schemas"]))


def example_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """The example of a schema, put together from those of its parts; every part has one."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    if "default" in schema or "const" in schema:
        return schema.get("default", schema.get("const"))
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    return {name: example_of(part, schemas) for name, part in schema["properties"].items()}
