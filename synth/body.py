"""The bodies of the synthetic scene's vehicles: the measures of each kind, and a mesh of one vehicle with its paint and marks."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from vreid.synth.mesh import (
    Mesh,
    MeshBuilder,
    Panel,
    add_box,
    add_prism,
    disc,
    scaled,
    text_mask,
)
from vreid.synth.vehicle import Colour, Kind, Vehicle


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


BEND = 0.35  # of the way to the nearer neighbour: how far a station along the body may move


@cache
def shape_of(kind: Kind, body: int) -> Shape:
    """The kind's shape for body 0; of another number a bend of it: size, heights and what lies along the body moved at random, in
    the same order along it, so that every number is a body that could be built."""
    shape = SHAPES[kind]
    if not body:
        return shape
    rng = np.random.default_rng((body, list(SHAPES).index(kind)))
    length, width, height = shape.size
    tall = float(rng.uniform(0.92, 1.1))
    stations = np.array([0.0, shape.bonnet, *shape.roof, shape.back, 1.0])
    room = np.minimum(np.diff(stations)[:-1], np.diff(stations)[1:])
    bonnet, front, rear, back = (stations[1:-1] + BEND * room * rng.uniform(-1, 1, 4)).tolist()
    belt = shape.belt * float(rng.uniform(0.94, 1.06))
    wheel = shape.wheel * float(rng.uniform(0.93, 1.06))
    axles = tuple(float(share + rng.uniform(-0.015, 0.015)) for share in shape.axles)
    return replace(
        shape,
        size=(length * float(rng.uniform(0.9, 1.12)), width * float(rng.uniform(0.95, 1.04)), height * tall),
        clearance=shape.clearance * float(rng.uniform(0.9, 1.15)),
        belt=belt,
        nose=min(belt, shape.nose * float(rng.uniform(0.9, 1.1))),
        bonnet=bonnet,
        roof=(front, rear),
        back=max(rear, back),
        axles=axles,
        wheel=wheel,
        inset=shape.inset * float(rng.uniform(0.7, 1.3)),
    )


def size_of(vehicle: Vehicle) -> tuple[float, float, float]:
    """Length, width and height in metres, without what stands on the roof."""
    length, width, height = (
        side * factor for side, factor in zip(shape_of(vehicle.kind, vehicle.body).size, vehicle.stretch, strict=True)
    )
    return length, width, height


BLACK: Colour = (26.0, 26.0, 26.0)
HEADLAMP: Colour = (250.0, 250.0, 248.0)
TAIL_LAMP: Colour = (38.0, 30.0, 205.0)


def mesh_of(vehicle: Vehicle) -> Mesh:
    """The vehicle's mesh: the origin on the ground under its middle, driving towards +x."""
    shape, builder = shape_of(vehicle.kind, vehicle.body), MeshBuilder()
    length, width, height = size_of(vehicle)
    _add_tyres(builder, shape, length, width)
    if vehicle.kind == "lorry":
        _add_lorry(builder, vehicle, shape, length, width, height)
    else:
        _add_car(builder, vehicle, shape, length, width, height)
    return builder.mesh()


def _side(x0: float, x1: float, z0: float, z1: float, y: float) -> Panel:
    """The rectangle of one side of the body; x0 behind x1."""
    first, last = (x1, x0) if y > 0 else (x0, x1)
    corners = np.array([[first, y, z0], [last, y, z0], [last, y, z1], [first, y, z1]])
    return Panel(corners, np.array([0.0, np.sign(y), 0.0]))


def _put(builder: MeshBuilder, panel: Panel, colour: Colour, glow: bool = False) -> None:
    builder.face(panel.corners, panel.normal, colour, glow)


def _add_tyres(builder: MeshBuilder, shape: Shape, length: float, width: float) -> None:
    builder.part(-1, (0, 0, 0))
    for share in shape.axles:
        x = length * (0.5 - share)
        for y in (width / 2, -width / 2):
            inner = y * (1 - 0.44 / width)
            builder.hull(
                np.concatenate([disc(x, y * 0.99, shape.wheel, shape.wheel), disc(x, inner, shape.wheel, shape.wheel)]),
                BLACK,
            )


def _add_wheels(
    builder: MeshBuilder, vehicle: Vehicle, shape: Shape, length: float, width: float, floor: float
) -> None:
    """Arch, tyre and rim of each wheel, as decals of the sides."""
    radius = shape.wheel
    for y in (width / 2, -width / 2):
        normal = np.array([0.0, np.sign(y), 0.0])
        for share in shape.axles:
            x = length * (0.5 - share)
            arch = disc(x, y, radius, radius * 1.17, 16)
            arch[:, 2] = np.maximum(arch[:, 2], floor)
            builder.face(arch, normal, (18.0, 18.0, 18.0))
            builder.face(disc(x, y, radius, radius), normal, (34.0, 33.0, 32.0))
            builder.face(disc(x, y, radius, radius * 0.64), normal, vehicle.wheel)
            for spoke in range(vehicle.spokes):
                turn = 2 * np.pi * spoke / vehicle.spokes
                gap = np.array([[0.18, 0.0], [0.56, -0.9 / vehicle.spokes * 1.6], [0.56, 0.9 / vehicle.spokes * 1.6]])
                angle = turn + gap[:, 1]
                points = np.stack(
                    [
                        x + radius * gap[:, 0] * np.cos(angle),
                        np.full(3, y),
                        radius + radius * gap[:, 0] * np.sin(angle),
                    ],
                    axis=1,
                )
                builder.face(points, normal, (48.0, 46.0, 45.0))
            if not vehicle.spokes:
                builder.face(disc(x, y, radius, radius * 0.2, 8), normal, scaled(vehicle.wheel, 0.55))


def _add_car(builder: MeshBuilder, vehicle: Vehicle, shape: Shape, length: float, width: float, height: float) -> None:
    half, floor, rise = width / 2, shape.clearance, height / shape.size[2]
    belt, nose = shape.belt * rise, shape.nose * rise
    paint, trim = vehicle.paint, vehicle.trim
    foot, bumper = length * (0.5 - shape.bonnet), 0.34 * belt + 0.2
    body = [
        (-length / 2 + 0.07, floor, half * 0.94),
        (-length / 2, bumper, half * 0.95),
        (-length / 2 + 0.06, belt - 0.06, half * 0.92),
        (-length / 2 + 0.34, belt, half),
        (foot, belt, half),
        (length / 2 - 0.13, nose, half * 0.89),
        (length / 2, bumper, half * 0.94),
        (length / 2 - 0.09, floor, half * 0.92),
    ]
    panels, _ = add_prism(builder, 0, body, paint, [trim, paint, paint, paint, paint, paint, trim, None])
    for y in (half, -half):
        _add_side(builder, vehicle, length, floor, belt, y)
    _add_wheels(builder, vehicle, shape, length, width, floor)
    _add_ends(builder, vehicle, front=panels[5], rear=panels[1], lower=panels[6])
    if vehicle.kind == "pickup":
        bed = panels[3].patch(0.08, 0.92, 0.02, 0.36)
        _put(builder, bed, scaled(paint, 0.3))
    roof_front, roof_rear = length * (0.5 - shape.roof[0]), length * (0.5 - shape.roof[1])
    top = half - shape.inset
    cabin = [
        (length * (0.5 - shape.back), belt, half * 0.985),
        (roof_rear, height, top),
        (roof_front, height, top),
        (foot, belt, half * 0.985),
    ]
    roof = vehicle.roof or paint
    panels, sides = add_prism(builder, 1, cabin, roof, [roof, roof, roof, None])
    goods = vehicle.kind == "van"
    _put(builder, panels[2].patch(0.05, 0.95, 0.05, 0.93), vehicle.glass)
    _put(builder, panels[2].patch(0.1, 0.42, 0.5, 0.88), scaled(vehicle.glass, 1.5))  # the sky in the windscreen
    _put(builder, panels[0].patch(0.08, 0.92, 0.45 if goods else 0.12, 0.88), scaled(vehicle.glass, 0.8))
    if goods:
        _put(builder, panels[0].patch(0.49, 0.51, 0.0, 1.0), scaled(paint, 0.5))
    _put(builder, panels[1].patch(0.06, 0.94, 0.04, 0.96), scaled(roof, 1.05))
    for panel, flip in zip(sides, (False, True), strict=True):
        for start, stop in shape.windows:
            u0, u1 = (1 - stop, 1 - start) if flip else (start, stop)
            _put(builder, panel.patch(u0, u1, 0.1, 0.86), vehicle.glass)
        if vehicle.lettering:
            text, colour = vehicle.lettering
            band = (0.34, 0.9, 0.2, 0.72) if goods else (0.1, 0.9, 0.875, 0.98)
            u0, u1 = (1 - band[1], 1 - band[0]) if flip else band[:2]
            place = panel.patch(u0, u1, *band[2:])
            builder.face(place.corners, place.normal, colour, mask=text_mask(text, 128, 32 if goods else 16))
    _add_top(builder, vehicle, roof_rear, roof_front, top, height)


def _add_side(builder: MeshBuilder, vehicle: Vehicle, length: float, floor: float, belt: float, y: float) -> None:
    """Shoulder, sill, doors, stripe and sticker of one side of the body."""
    y *= 0.995
    tail, nose, tall = -length * 0.48, length * 0.46, belt - floor
    _put(builder, _side(tail + 0.2, length * 0.22, belt - 0.14 * tall, belt - 0.02, y), scaled(vehicle.paint, 1.14))
    _put(builder, _side(tail + 0.05, nose, floor, floor + 0.2 * tall, y), scaled(vehicle.trim, 0.8))
    if vehicle.stripe:
        colour, low, high = vehicle.stripe
        _put(builder, _side(tail + 0.06, nose, floor + low * tall, floor + high * tall, y), colour)
    if vehicle.kind != "bus":
        for share in (0.32, 0.52) if vehicle.kind == "van" else (0.3, 0.5, 0.7):
            x = length * (0.5 - share)
            _put(builder, _side(x - 0.012, x + 0.012, floor + 0.2 * tall, belt, y), scaled(vehicle.paint, 0.55))
    if vehicle.sticker:
        colour, corners, share, size = vehicle.sticker
        x, z, normal = length * (0.5 - share), floor + 0.62 * tall, np.array([0.0, np.sign(y), 0.0])
        builder.face(disc(x, y, z, size * 1.25, 16), normal, (240.0, 240.0, 240.0))
        if corners == 2:
            _put(builder, _side(x - size, x + size, z - size / 4, z + size / 4, y), colour)
            _put(builder, _side(x - size / 4, x + size / 4, z - size, z + size, y), colour)
        else:
            builder.face(disc(x, y, z, size, corners, np.pi / 2), normal, colour)


def _add_ends(builder: MeshBuilder, vehicle: Vehicle, front: Panel, rear: Panel, lower: Panel) -> None:
    """Lamps, grille and plates."""
    for u0, u1 in ((0.02, 0.24), (0.76, 0.98)):
        _put(builder, front.patch(u0, u1, 0.32, 0.86), HEADLAMP, glow=True)
    for u0, u1 in ((0.02, 0.19), (0.81, 0.98)):
        _put(builder, rear.patch(u0, u1, 0.3, 0.88), TAIL_LAMP, glow=True)
    _put(builder, front.patch(0.28, 0.72, 0.2, 0.72), BLACK)
    _put(builder, lower.patch(0.12, 0.88, 0.08, 0.4), BLACK)
    width = float(np.linalg.norm(rear.corners[1] - rear.corners[0]))
    share = 0.26 / width
    for place in (lower.patch(0.5 - share, 0.5 + share, 0.5, 0.98), rear.patch(0.5 - share, 0.5 + share, 0.25, 0.62)):
        _put(builder, place, vehicle.plate_colour)
        ink = place.patch(0.05, 0.95, 0.1, 0.9)
        builder.face(ink.corners, ink.normal, BLACK, mask=text_mask(vehicle.plate, 64, 16))


def _add_top(builder: MeshBuilder, vehicle: Vehicle, rear: float, front: float, half: float, height: float) -> None:
    """What stands on the roof."""
    colour, long = vehicle.top_colour, front - rear
    if vehicle.top == "box":
        add_box(
            builder,
            2,
            (rear + 0.1 * long, -half * 0.6, height + 0.04),
            (front - 0.1 * long, half * 0.6, height + 0.34),
            colour,
        )
    if vehicle.top == "rack":
        for share in (0.2, 0.5, 0.8):
            x = rear + share * long
            add_box(builder, 2, (x - 0.05, -half * 0.95, height), (x + 0.05, half * 0.95, height + 0.1), colour)
    if vehicle.top == "taxi":
        x = rear + 0.62 * long
        panels, _ = add_box(builder, 2, (x - 0.12, -0.3, height), (x + 0.12, 0.3, height + 0.2), (60.0, 210.0, 245.0))
        for panel in (panels[0], panels[2]):
            ink = panel.patch(0.1, 0.9, 0.15, 0.85)
            builder.face(ink.corners, ink.normal, BLACK, mask=text_mask("TAXI", 48, 16))


def _add_lorry(
    builder: MeshBuilder, vehicle: Vehicle, shape: Shape, length: float, width: float, height: float
) -> None:
    """A cab, and behind it a box on a low frame."""
    half, floor, belt, paint = width / 2, shape.clearance, shape.belt, vehicle.paint
    cab_rear, cab_front, cab_top = length * 0.28, length / 2, min(2.7, height - 0.2)
    add_box(builder, 0, (-length / 2, -half * 0.9, floor), (cab_front - 0.1, half * 0.9, 0.95), (58.0, 56.0, 54.0))
    _add_wheels(builder, vehicle, shape, length, width, floor + 0.1)
    wide, narrow, roof = half * 0.97, half * 0.9, vehicle.roof or paint
    cab = [
        (cab_rear, floor, wide),
        (cab_rear, cab_top, narrow),
        (cab_front - 0.3, cab_top, narrow),
        (cab_front, belt, wide),
        (cab_front, floor, wide),
    ]
    panels, _ = add_prism(builder, 1, cab, paint, [paint, roof, paint, paint, None])
    _put(builder, panels[2].patch(0.05, 0.95, 0.06, 0.8), vehicle.glass)
    _put(builder, panels[2].patch(0.1, 0.4, 0.4, 0.75), scaled(vehicle.glass, 1.5))
    _put(builder, panels[3].patch(0.12, 0.88, 0.5, 0.92), BLACK)
    _put(builder, panels[3].patch(0.0, 1.0, 0.0, 0.17), scaled(vehicle.trim, 0.8))
    for u0, u1 in ((0.03, 0.2), (0.8, 0.97)):
        _put(builder, panels[3].patch(u0, u1, 0.22, 0.42), HEADLAMP, glow=True)
    _put(builder, panels[3].patch(0.38, 0.62, 0.03, 0.14), vehicle.plate_colour)
    for y in (wide, -wide):
        _put(builder, _side(cab_rear, cab_front, floor, floor + 0.2, y), scaled(vehicle.trim, 0.8))
        _put(builder, _side(cab_rear + 0.25, cab_front - 0.4, belt + 0.1, cab_top - 0.25, y * 0.97), vehicle.glass)
    _add_wheels(builder, vehicle, replace(shape, axles=shape.axles[:1]), length, width, floor + 0.1)
    panels, sides = add_box(builder, 1, (-length / 2, -half, 0.9), (cab_rear - 0.15, half, height), vehicle.cargo)
    _put(builder, panels[0].patch(0.49, 0.51, 0.02, 0.98), scaled(vehicle.cargo, 0.55))
    for u0, u1 in ((0.02, 0.12), (0.88, 0.98)):
        _put(builder, panels[0].patch(u0, u1, 0.0, 0.06), TAIL_LAMP, glow=True)
    _put(builder, panels[0].patch(0.38, 0.62, 0.0, 0.07), vehicle.plate_colour)
    for panel in sides:
        if vehicle.stripe:
            colour, low, high = vehicle.stripe
            _put(builder, panel.patch(0.0, 1.0, low * 0.5, high * 0.5), colour)
        if vehicle.lettering:
            ink = panel.patch(0.12, 0.88, 0.45, 0.85)
            builder.face(ink.corners, ink.normal, vehicle.lettering[1], mask=text_mask(vehicle.lettering[0], 160, 48))
