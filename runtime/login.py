"""Who runs this process, for the audit of a gallery."""

import getpass


def login() -> str:
    """Who runs this process; "unknown" where the system has no name for the user, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # Python 3.13 made one of the first two of the third
        return "unknown"
