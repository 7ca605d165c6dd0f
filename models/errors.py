"""The one error a person may see: a request that cannot be met, and what to do about it."""


class Refused(Exception):
    """The request was wrong; the message is one sentence that says the fix. The command line exits with 2."""
