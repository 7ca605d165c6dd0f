"""Numbers written after the `?` of a detector's text, as in `yolox:FILE?tiles=2`."""

from collections.abc import Mapping

from vreid.models.errors import Refused


def numbers_of(
    detector: str, options: Mapping[str, str], known: Mapping[str, tuple[float, float, float]]
) -> dict[str, float]:
    """`known`: name -> (default, least, most); returns a value for every name.

    Raises Refused for an unknown name, a value that is not a number or out of range.
    """
    if strangers := sorted(set(options) - set(known)):
        offer = f"it has: {', '.join(sorted(known))}" if known else "it has none"
        raise Refused(f"the detector '{detector}' has no option '{strangers[0]}'; {offer}")
    values = {}
    for name, (default, least, most) in known.items():
        text = options.get(name, str(default))
        try:
            value = float(text)
        except ValueError as error:
            raise Refused(f"the option {name}={text} of the detector '{detector}' is not a number") from error
        if not least <= value <= most:
            raise Refused(
                f"the option {name} of the detector '{detector}' lies between {least:g} and {most:g}, not at {text}"
            )
        values[name] = value
    return values
