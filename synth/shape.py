"""The measures of the kinds of vehicle in the synthetic scene."""

from dataclasses import dataclass

from vreid.synth.vehicle import Kind, Vehicle


@dataclass(frozen=True)
class Shape:
    """A kind's measures in metres; `bonnet` to `back`, `axles` and `windows` are shares of a length, front to rear."""

    size: tuple[float, float, float]  # length, width, height
    clearance: float
    belt: float  # height of the lower edge of the windows
    nose: float  # height of the front edge of the bonnet
    bonnet: float  # foot of the windscreen
    roof: tuple[float, float]
    back: float  # foot of the rear window
    axles: tuple[float, ...]
    wheel: float  # radius
    windows: tuple[tuple[float, float], ...]  # shares of the cabin's side
    inset: float = 0.16  # how much narrower the roof is than the body, on each side


CAR_WINDOWS = ((0.06, 0.44), (0.48, 0.94))
VAN_WINDOWS = ((0.05, 0.23),)
LONG_WINDOWS = ((0.06, 0.35), (0.38, 0.66), (0.7, 0.95))
SHAPES: dict[Kind, Shape] = {
    "sedan": Shape((4.65, 1.82, 1.44), 0.24, 0.93, 0.74, 0.27, (0.41, 0.68), 0.85, (0.19, 0.79), 0.32, CAR_WINDOWS),
    "hatchback": Shape((3.95, 1.74, 1.5), 0.23, 0.93, 0.77, 0.23, (0.39, 0.86), 0.985, (0.18, 0.81), 0.31, CAR_WINDOWS),
    "estate": Shape((4.75, 1.82, 1.47), 0.23, 0.92, 0.74, 0.26, (0.4, 0.9), 0.99, (0.18, 0.78), 0.32, LONG_WINDOWS),
    "suv": Shape((4.6, 1.9, 1.75), 0.32, 1.1, 0.98, 0.24, (0.36, 0.92), 0.99, (0.18, 0.8), 0.37, LONG_WINDOWS, 0.14),
    "van": Shape((5.3, 2.0, 2.25), 0.28, 1.15, 0.98, 0.13, (0.27, 0.985), 0.995, (0.16, 0.78), 0.34, VAN_WINDOWS, 0.1),
    "pickup": Shape((5.3, 1.9, 1.8), 0.36, 1.08, 0.99, 0.24, (0.34, 0.56), 0.61, (0.18, 0.78), 0.39, CAR_WINDOWS, 0.14),
    "bus": Shape(
        (10.8, 2.5, 3.05), 0.3, 1.25, 1.2, 0.01, (0.02, 0.99), 0.995, (0.23, 0.74), 0.48,
        tuple((0.02 + 0.16 * i, 0.16 + 0.16 * i) for i in range(6)), 0.05,
    ),
    "lorry": Shape((7.6, 2.4, 3.2), 0.5, 1.5, 1.45, 0.01, (0.05, 0.2), 0.2, (0.15, 0.74), 0.46, ((0.1, 0.75),), 0.08),
}  # fmt: skip


def size_of(vehicle: Vehicle) -> tuple[float, float, float]:
    """Length, width and height in metres, without what stands on the roof."""
    length, width, height = (
        side * factor for side, factor in zip(SHAPES[vehicle.kind].size, vehicle.stretch, strict=True)
    )
    return length, width, height
