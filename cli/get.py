"""`vreid get`: fetch a public network whose hash is known."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vreid.cli import output

if TYPE_CHECKING:
    from vreid.runtime.public_models import PublicModel


@dataclass(frozen=True)
class Args:
    """Download a public network into the cache of models; without a name, list those that there are."""

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Of the list."""
    source: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = ()
    """Files that were brought by other means, or the folder where they lie: nothing is downloaded."""
    out: Path | None = None
    """Folder for the files instead of the cache of models."""
    json: bool = False
    """Print the result on stdout as JSON."""


def main(args: Args) -> int:
    from vreid.models.errors import Refused
    from vreid.runtime.public_models import MODELS, fetched, model_named, models_folder

    if args.name is None:
        if args.source or args.out:
            raise Refused("--from and --out need the name of a model; vreid get lists them")
        return _list(list(MODELS.values()), args.json)
    model = model_named(args.name)
    folder = args.out or models_folder(os.environ) / model.name
    with output.counting(f"fetching {model.name}") as progress:
        paths = fetched(model, folder, args.source, progress)
    use = {
        "detector": f"--detector model:{model.name if args.out is None else paths[0]}",
        "embedder": f"vreid adopt {paths[0]} --out {model.name}.onnx",
        "weights": f"vreid train teacher --weights {paths[0]}",
    }[model.job]
    fields = {**_fields(model), "paths": [str(path) for path in paths], "use": use}
    return output.outcome(
        args.json, f"{model.name}: {', '.join(map(str, paths))} ({model.licence}); use it by {use}", fields
    )


def _fields(model: "PublicModel") -> dict[str, Any]:
    files = [{"address": file.address, "bytes": file.size, "digest": file.digest} for file in model.files]
    return {
        "name": model.name, "job": model.job, "about": model.about, "licence": model.licence, "hash_from": model.source,
        "files": files,
    }  # fmt: skip


def _list(models: "list[PublicModel]", as_json: bool) -> int:
    from vreid.runtime.public_models import models_folder

    folder = models_folder(os.environ)
    here = {model.name: all((folder / model.name / file.name).is_file() for file in model.files) for model in models}
    if as_json:
        output.document({"folder": str(folder), "models": [{**_fields(m), "here": here[m.name]} for m in models]})
        return 0
    rows = [
        (
            model.name,
            model.job,
            model.about,
            f"{model.size / 1e6:.1f}",
            model.licence,
            "yes" if here[model.name] else "",
        )
        for model in models
    ]
    output.table("public models", ("name", "job", "what", "MB", "licence", "here"), rows)
    output.result(f"vreid get NAME puts one into {folder}")
    return 0
