"""Bundled students with their model cards, and which model a name means: a path, or one that came with the package."""

from pathlib import Path

from vreid.models.errors import Refused

ZOO = Path(__file__).parent


def bundled() -> dict[str, Path]:
    """{name: manifest} of the bundled models, by name."""
    return {path.stem: path for path in sorted(ZOO.glob("*.json"))}


def is_checkpoint(text: str | Path) -> bool:
    """Whether a model's name is that of a checkpoint: .pt or .pth, in any case."""
    return Path(text).suffix.lower() in (".pt", ".pth")


def manifest_path(text: str) -> Path:
    """The manifest that `text` names: a .json file, or a bundled model such as vreid-s."""
    path = Path(text)
    if path.suffix == ".json" or path.is_file():
        if path.suffix in (".onnx", ".engine", ".plan"):
            raise Refused(
                f"{path} is a bare engine; give its manifest {path.with_suffix('.json')}, which says how to feed it, or make "
                "one with vreid adopt"
            )
        if is_checkpoint(path):
            raise Refused(
                f"{path} is a checkpoint, not a manifest; lower it first: vreid export {path} --out {path.with_suffix('.onnx')}"
            )
        return path
    named = bundled()
    if text not in named:
        raise Refused(
            f"there is no model '{text}'; give a manifest .json or a bundled name ({', '.join(named) or 'none'})"
        )
    return named[text]
