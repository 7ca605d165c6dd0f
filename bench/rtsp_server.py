"""A real RTSP server on loopback for torture: GStreamer's, as Debian packs it, so this runs under the system's Python.

    /usr/bin/python3 bench/rtsp_server.py PORT gate=cam1.yuv yard=cam2.yuv [--raw-size 640x360] [--size 640x360] [--rate 10]

Each NAME=FILE, raw I420 pictures of the size --raw-size, is served for ever, live, as H.264 at rtsp://127.0.0.1:PORT/NAME, one
encoder for all its clients; a NAME= without a file is GStreamer's ball. Debian:
gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,ugly} gstreamer1.0-libav gstreamer1.0-rtsp python3-gi.
"""

import argparse
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  after the versions are chosen


class Looped(GstRtspServer.RTSPMediaFactory):
    """One video, begun anew whenever it ends."""

    def __init__(self, video: str, of: str, size: str, rate: int) -> None:
        super().__init__()
        wide, high = of.split("x")
        width, height = size.split("x")
        source = (
            f'multifilesrc location="{Path(video).absolute()}" loop=true ! '
            f"rawvideoparse format=i420 width={wide} height={high} framerate={rate}/1"
            if video
            else "videotestsrc is-live=true pattern=ball"
        )
        self.set_launch(
            f"( {source} ! videoscale ! videorate ! video/x-raw,width={width},height={height},framerate={rate}/1 "
            "! videoconvert ! identity sync=true ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000 "
            f"key-int-max={rate} threads=1 ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        self.set_shared(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port")
    parser.add_argument("videos", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--raw-size", default="640x360")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--rate", type=int, default=10)
    flags = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(flags.port)
    for video in flags.videos:
        name, _, path = video.partition("=")
        server.get_mount_points().add_factory(f"/{name}", Looped(path, flags.raw_size, flags.size, flags.rate))
    if not server.attach(None):
        raise SystemExit(f"port {flags.port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
