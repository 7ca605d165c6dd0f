"""Options that mean something to some builders only."""

from vreid.deploy.build.records import Options
from vreid.models.errors import Refused

FLAGS = {"dla": "--dla", "capabilities": "--capabilities", "checkpoint": "--checkpoint"}


def refuse_options(engine: str, options: Options, *taken: str) -> None:
    """Raises Refused for an option that is set and not among those `taken`."""
    for name, flag in FLAGS.items():
        if name not in taken and getattr(options, name) not in (None, ()):
            raise Refused(f"{flag} means nothing to the {engine} engine; leave it out")
