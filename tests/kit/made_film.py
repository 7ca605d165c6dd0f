"""Small films made with PyAV, whose pictures say their own number."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 16  # grey levels from picture to picture


def level(number: int) -> int:
    """The grey of picture `number`, far from black and white."""
    return 40 + STEP * (number % 10)


def make_film(
    path: Path,
    times: Sequence[float],
    codec: str = "mpeg4",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    options: dict[str, str] | None = None,
    container: str | None = None,
    gop: int = 12,
    bframes: int = 0,
    full_range: bool = False,
) -> Path:
    """A film of plain grey pictures of `size` (width, height), picture n of grey `level(n)` at `times[n]` seconds."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=10, options=dict(options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base = Fraction(1, 1000)
        context.gop_size, context.max_b_frames = gop, bframes
        context.bit_rate = 4_000_000
        if full_range:
            context.color_range = 2
        for number, time in enumerate(times):
            picture = np.full((size[1], size[0], 3), level(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame = frame.reformat(format=pix_fmt, **({"dst_color_range": "JPEG"} if full_range else {}))
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


def remuxed(path: Path, out: Path, shift: float = 0.0, container: str | None = None) -> Path:
    """The packets of `path` in another container, all stamps moved by `shift` seconds."""
    with av.open(str(path)) as source, av.open(str(out), "w", format=container) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if not packet.size:
                continue
            moved = round(shift / packet.time_base)
            packet.pts = packet.pts + moved
            packet.dts = packet.pts if packet.dts is None else packet.dts + moved
            packet.stream = stream
            target.mux(packet)
    return out
