"""The command `vreid`: finds the verb, parses its flags into the verb's dataclass, turns errors into sentences."""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from vreid.cli import output
from vreid.models.errors import Refused, shown, unusable

VERBS = {
    "train": "teach a teacher or a student: vreid train teacher|student",
    "recipes": "the recipes of vreid train, and one with all its settings as a TOML file",
    "refit": "the last layer of a trained network anew, in closed form: better retrieval at the same cost",
    "cache-teacher": "a teacher's embeddings of every picture of a data set, computed once and kept in a file",
    "eval": "mAP, Rank-k and mINP of a model; and vreid eval run: a finished run against its ground truth",
    "export": "lower a checkpoint to ONNX with its manifest",
    "adopt": "a manifest for a foreign ONNX embedder, so that every verb takes it",
    "build": "make an engine of an ONNX model for the device at hand",
    "quantize": "INT8 by explicit Q/DQ, for processors or for TensorRT",
    "verify": "a lowered model against its reference: mAP, cosine, open-set threshold",
    "bench": "latency, throughput, memory, params, MACs and FLOPs in one table",
    "profile": "params, MACs and FLOPs of every layer",
    "gallery": "enrol, search, list, show, merge, split, undo, purge, export, check ...: vreid gallery --help",
    "run": "find vehicles again in video files and live cameras",
    "serve": "pages and a REST API over a gallery, with a run or next to one; tokens",
    "fleet": "a box's way to its centre: show, send; and its server: setup, record, replay, rights",
    "centre": "one identity over the boxes of a region: run, show; over regions: search, reconcile, proposals, answer",
    "site": "a site's file, of many cameras: check, draw, schema",
    "models": "the bundled models, and what each costs and finds",
    "get": "fetch a public network, such as a detector, whose hash is known",
    "synth": "render a synthetic scene as a data set or as videos with ground truth",
    "demo": "three synthetic cameras, one gallery, one report",
    "doctor": "what is installed, what is missing for which job, and the fix",
}

# until the first release: old verbs, which run as before with a notice; and scripts of the repository, which no wheel holds
RENAMED = {"teach": "cache-teacher", "eval-run": "eval run"}
MOVED = {"score": "bench/score.py"}
RENAMED_FLAGS = {"train": {"--unasked": "--undistilled"}}
ASSUMED = {"eval": "retrieval", "serve": "run"}  # the sub-verb that is meant where none is given


def _usage() -> str:
    lines = [f"  {verb:<14}{text}" for verb, text in VERBS.items()]
    return (
        "usage: vreid VERB ...\n\nvehicle re-identification next to the camera\n\n"
        + "\n".join(lines)
        + "\n\nvreid VERB --help says more; vreid --version prints the version.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the answer is no, 2 the request was wrong, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    output.steady()
    try:
        try:
            return _done(words)
        finally:
            sys.stdout.flush()
    except Refused as error:
        output.error(str(error))
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("vreid"):
            raise
        output.error(f"vreid {words[0]} needs the package '{error.name}'; vreid doctor says how to install it")
        return 2
    except KeyboardInterrupt:
        output.error("interrupted")
        return 130
    except MemoryError:
        output.error("there is not enough memory for this; give smaller numbers, fewer pictures or a smaller model")
        return 2
    except OSError as error:  # a name too long, a folder that may not be looked into, a full disk
        output.error(str(unusable(error)))
        return 2


def _done(words: Sequence[str]) -> int:
    """The exit code of a command that nothing went wrong in; the usage or the version where there is no verb."""
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return 0 if words else 2
    verb, *rest = words
    if verb == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"vreid {version('vreid')}\n")
        return 0
    output.guard()
    # FFmpeg and OpenCV can only be silenced before they are loaded; what is wrong with a video is said in a sentence of vreid
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    if verb in MOVED:
        raise Refused(
            f"vreid {verb} is a script of the repository now; in a checkout of it run python {MOVED[verb]} with the same words"
        )
    if verb in RENAMED:
        output.note(f"vreid {verb} is called vreid {RENAMED[verb]} now; the old name goes after the first release")
        verb, *sub = RENAMED[verb].split()
        rest = [*sub, *rest]
    if verb not in VERBS:
        near = _near(verb, [*VERBS, *RENAMED])
        raise Refused(f"there is no verb '{shown(verb)}'{near} (vreid --help lists all)")
    for old, new in RENAMED_FLAGS.get(verb, {}).items():
        if any(word.partition("=")[0] == old for word in rest):
            output.note(f"{old} is called {new} now; the old name goes after the first release")
            rest = [new + word[len(old) :] if word.partition("=")[0] == old else word for word in rest]
    if any(pair == ("--out", "") for pair in pairwise(rest)) or "--out=" in rest:
        raise Refused("--out is empty, as an unset variable is; name where to write")
    module = importlib.import_module(f"vreid.cli.{verb.replace('-', '_')}")
    kind, program, about = module.Args, f"vreid {verb}", getattr(module, "ABOUT", None)
    if below := sub_verbs(kind):
        rest = _with_sub_verb(verb, rest, list(below))
        if (first := rest[0]) in below:  # so that what is said of a wrong flag names the command whose help has it
            kind, program, about, rest = below[first], f"{program} {first}", None, rest[1:]
    return int(module.main(parsed(kind, program, rest, about)))


def sub_verbs(kind: Any) -> dict[str, Any]:
    """{name: dataclass} of a verb's sub-verbs, from its `Args`: a union of these, each annotated with tyro's subcommand."""
    return {each.__metadata__[0].name: each.__origin__ for each in get_args(kind) if hasattr(each, "__metadata__")}


def _with_sub_verb(verb: str, words: Sequence[str], known: Sequence[str]) -> list[str]:
    """`words` with the sub-verb that is meant in front, or the flag for help. Raises Refused for one that is not there."""
    first = words[0] if words else ""
    if first in (*known, "-h", "--help"):
        return list(words)
    near = _near(first, known)
    if verb in ASSUMED and (not near or Path(first).exists()):
        return [ASSUMED[verb], *words]
    if not first or first.startswith("-"):
        raise Refused(f"after vreid {verb} comes what it is to do: {', '.join(known)} (vreid {verb} --help says more)")
    raise Refused(f"there is no verb '{verb} {shown(first)}'{near} (vreid {verb} --help lists all)")


def parsed(kind: Any, program: str, words: Sequence[str], about: str | None = None) -> Any:
    """`words` as the dataclass of the verb; `about` heads its help in place of the docstring. tyro repeats a word that it does
    not take: never one with a password."""
    import tyro

    from vreid.runtime.network_address import redacted

    # --flag without a --no-flag twin, subcommands' flags without the field names in front, and no {None} as a value
    rules = (
        tyro.conf.FlagCreatePairsOff,
        tyro.conf.OmitArgPrefixes,
        tyro.conf.OmitSubcommandPrefixes,
        tyro.conf.DisallowNone,
    )
    without = [redacted(word) for word in words]
    parse = partial(tyro.cli, kind, prog=program, description=about, config=rules)
    if without == list(words):
        return parse(args=words)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # a wrong value is printed in any case
            return parse(args=words, console_outputs=False)
    except SystemExit as end:
        parse(args=without)  # ends in the same way, and says why
        raise SystemExit(end.code) from None


def _near(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, known, 1)
    return f"; did you mean '{found[0]}'?" if found else ""


if __name__ == "__main__":
    sys.exit(main())
