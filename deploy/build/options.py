"""Options that mean something to some builders only."""

from vreid.deploy.build.records import Options
from vreid.models.errors import Refused

FLAGS = {"dla": "--dla", "workspace": "--workspace", "capabilities": "--capabilities", "checkpoint": "--checkpoint"}


def refuse_options(engine: str, options: Options, *taken: str) -> None:
    """Raises Refused for an option that is set and not among those `taken`, and for a workspace of less than 1 MiB."""
    if options.workspace is not None and options.workspace < 1:
        raise Refused(f"--workspace is a number of MiB from 1, such as 1024, not {options.workspace}")
    for name, flag in FLAGS.items():
        if name not in taken and getattr(options, name) not in (None, ()):
            raise Refused(f"{flag} means nothing to the {engine} engine; leave it out")
