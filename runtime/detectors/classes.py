"""Which of a detector's classes are vehicles, and which kind of vehicle (COCO's class number, -1 for any other)."""

from collections.abc import Mapping, Sequence

from vreid.models.errors import Refused, shown

Kinds = Mapping[int, int]  # the network's number of a class that is a vehicle -> COCO's
CAR, MOTORCYCLE, BUS, TRUCK, OTHER = 2, 3, 5, 7, -1
COCO: dict[int, Kinds] = {
    80: {2: CAR, 3: MOTORCYCLE, 5: BUS, 7: TRUCK},  # the 80 classes in a row
    91: {3: CAR, 4: MOTORCYCLE, 6: BUS, 8: TRUCK},  # by COCO's own category ids, some of which are empty
}
_WORDS = {
    CAR: ("car", "sedan", "hatchback", "suv", "taxi", "cab", "automobile", "police car"),
    MOTORCYCLE: ("motorcycle", "motorbike", "moped", "scooter"),
    BUS: ("bus", "minibus", "coach"),
    TRUCK: ("truck", "lorry"),
    OTHER: ("vehicle", "van", "minivan", "pickup", "pickup truck", "tractor", "trailer", "ambulance", "fire truck"),
}
KIND_OF = {word: kind for kind, words in _WORDS.items() for word in words}
# Intel's Open Model Zoo writes the classes of its networks on their pages, not into the files: by the file's name
_ZOO = {
    "person-vehicle-bike-detection-": ("vehicle", "person", "bike"),
    "vehicle-detection-": ("vehicle",),
}


def names_by_file(stem: str) -> Sequence[str]:
    """The classes of a network of the Open Model Zoo, by the name of its file; empty for any other."""
    return next((names for start, names in _ZOO.items() if stem.startswith(start)), ())


def kinds_of(names: Sequence[str]) -> Kinds:
    """The vehicles among class names, whose place is the class's number; "Pickup_truck" is read as "pickup truck"."""
    plain = [name.strip().lower().replace("_", " ").replace("-", " ") for name in names]
    return {label: KIND_OF[name] for label, name in enumerate(plain) if name in KIND_OF}


def chosen_kinds(text: str, names: Sequence[str]) -> Kinds:
    """Of the option `vehicles=`: names of `names`, or numbers, with commas between. Raises Refused for an unknown name."""
    labels = {}
    for word in text.split(","):
        plain = word.strip()
        if plain not in names and not plain.isdecimal():
            known = f"the classes are {listed(names)}" if names else "the file names no classes; write their numbers"
            raise Refused(f"there is no class '{shown(plain)}' for vehicles={shown(text)}; {known}")
        label = list(names).index(plain) if plain in names else int(plain)
        labels[label] = KIND_OF.get(names[label].lower(), OTHER) if label < len(names) else OTHER
    return labels


def listed(names: Sequence[str]) -> str:
    """The first names of a list of classes, for a message."""
    first = ", ".join(shown(name) for name in names[:8])
    return first if len(names) <= 8 else f"{first} and {len(names) - 8} more"
