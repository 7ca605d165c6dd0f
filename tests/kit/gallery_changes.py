"""Anything that a gallery may go through, with rollbacks at any depth, and its answers compared with its rows all the while."""

import numpy as np
from made_gallery import answers, compared, enrolled, features

from vreid.runtime.gallery import Gallery


def _change(gallery: Gallery, random: np.random.Generator) -> None:
    """Anything that a gallery may go through."""
    alive = [vehicle.id for vehicle in gallery.vehicles(thumbnails=False)]
    act = random.choice(["vehicle", "prototype", "prototype", "remove", "move"])
    if act == "vehicle" or len(alive) < 5:
        enrolled(gallery, 2, int(random.integers(1 << 30)))
    elif act == "prototype":
        feature = features(1, int(random.integers(1 << 30)))[0]
        gallery.add_prototype(int(random.choice(alive)), str(random.choice(["front", "rear"])), feature)
    elif act == "remove":
        gallery.remove(int(random.choice(alive)))
    else:
        with gallery.transaction() as store:
            one, two = (int(vehicle) for vehicle in random.choice(alive, 2, replace=False))
            store.move_prototypes(two, one)


def anything(gallery: Gallery, random: np.random.Generator, steps: int) -> None:
    """So many series of changes and searches."""

    def wild(depth: int) -> None:
        for _ in range(int(random.integers(1, 5))):
            act = random.choice(["change", "change", "search", "inner"])
            if act == "change":
                _change(gallery, random)
            elif act == "search" or depth == 3:
                assert answers(gallery) == compared(gallery)
            else:
                fails = random.random() < 0.6
                try:
                    with gallery.transaction():
                        wild(depth + 1)
                        if fails:
                            raise KeyError
                except KeyError:
                    assert fails

    for step in range(steps):
        if step % 10 == 5:
            gallery.index.current = None  # type: ignore[attr-defined]  # filled inside a transaction, maybe
        wild(0)
