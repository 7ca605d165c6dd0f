"""What is on this machine: packages, CUDA driver and devices, Jetson release. Nothing heavier than cv2 is imported."""

import importlib
import importlib.util
import mmap
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from vreid.runtime.engines.devices import board, driver

IMPORTED = (
    "numpy",
    "cv2",
    "onnxruntime",
    "faiss",
    "av",
    "simplejpeg",
)  # tried for real: quick, and a missing system library shows only then
DISTRIBUTIONS = {
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "cv2": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    "av": ("av",),
    "simplejpeg": ("simplejpeg",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cuvs"),
    "pydantic": ("pydantic",),
    "tyro": ("tyro",),
    "rich": ("rich",),
    "jinja2": ("jinja2",),
    "torch": ("torch",),
    "matplotlib": ("matplotlib",),
    "safetensors": ("safetensors",),
    "tensorboardX": ("tensorboardX",),
    "onnx": ("onnx",),
    "onnxsim": ("onnxsim",),
    "onnxscript": ("onnxscript",),
    "paho": ("paho-mqtt",),
    "fastapi": ("fastapi",),
    "uvicorn": ("uvicorn",),
    "python_multipart": ("python-multipart",),
    "psycopg": ("psycopg",),
    "alembic": ("alembic",),
    "pymilvus": ("pymilvus",),
    "prometheus_client": ("prometheus_client", "prometheus-client"),
    "nats": ("nats-py",),
    "nkeys": ("nkeys",),
    "motrics": ("motrics",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
    "openvino": ("openvino",),
    "torch_tensorrt": ("torch-tensorrt",),
    "cuda": ("cuda-python", "cuda-bindings", "cuda-core"),
    "pycuda": ("pycuda",),
}


@dataclass(frozen=True)
class Package:
    """One module that is there; `distributions` are all that provide it, `problem` is why it does not import."""

    module: str
    version: str
    distributions: tuple[str, ...]
    problem: str | None
    note: str


@dataclass(frozen=True)
class Machine:
    """`driver` is the CUDA version of libcuda, or None without one; `devices` are names with compute capabilities."""

    driver: str | None
    devices: tuple[str, ...]
    jetson: str | None  # L4T release, such as 36.4.3
    model: str | None  # of the board
    system_cv2: str | None = (
        None  # where the system's own cv2 lies, if it has GStreamer and is not the one that is imported
    )


def packages() -> dict[str, Package]:
    """Module name -> what is installed; an absent module is left out."""
    found = (_package(module, names) for module, names in DISTRIBUTIONS.items())
    return {package.module: package for package in found if package is not None}


def machine(root: Path = Path("/")) -> Machine:
    """What this machine is; files are read below `root`."""
    cuda = driver()
    devices = tuple(f"{device.name} (compute capability {device.capability})" for device in cuda.devices)
    release = _text(root / "etc/nv_tegra_release")
    return Machine(
        cuda.version,
        devices,
        _l4t(release) if release else None,
        board(root / "proc/device-tree/model"),
        hidden_cv2(root) if release else None,
    )


def hidden_cv2(root: Path = Path("/")) -> str | None:
    """The folder of a cv2 of the system (JetPack's is in one of these) that has GStreamer, where another cv2 is imported.

    It is not imported, as a second cv2 in one process would be: its library names GStreamer where it was built with it.
    """
    own = importlib.util.find_spec("cv2") if _findable("cv2") else None
    places = [*root.glob("usr/lib/python3*/dist-packages"), *root.glob("usr/local/lib/python3*/dist-packages")]
    for folder in sorted(places):
        for library in sorted([*folder.glob("cv2*.so"), *folder.glob("cv2/**/*.so")]):
            if own is not None and own.origin is not None and folder in Path(own.origin).parents:
                return None
            if _names_gstreamer(library):
                return str(folder)
    return None


def _names_gstreamer(library: Path) -> bool:
    """Whether its build information, which is text in the library, says so; of a distribution's the library of videos has it."""
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return re.search(rb"GStreamer: +YES", data) is not None or data.find(b"libopencv_videoio") >= 0
    except (OSError, ValueError):  # ValueError: an empty file
        return False


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: '1.15.1.post1' -> (1, 15, 1)."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _package(module: str, names: tuple[str, ...]) -> Package | None:
    versions = {name: found for name in names if (found := _version(name)) is not None}
    if not _findable(module):
        return None
    loaded, problem = _loaded(module) if module in IMPORTED else (None, None)
    if module == "cuda" and not _findable("cuda.bindings.runtime"):
        problem = "it is another package of that name, without NVIDIA's cuda.bindings"
    # Debian's and JetPack's packages may carry no metadata: then the module itself knows.
    known = next(iter(versions.values()), None) or str(getattr(loaded, "__version__", "unknown"))
    return Package(module, known, tuple(versions), problem, _note(loaded) if loaded else "")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _loaded(module: str) -> tuple[ModuleType | None, str | None]:
    try:
        return importlib.import_module(module), None
    except (ImportError, OSError, AttributeError) as error:  # AttributeError: cv2 half-overwritten by a second package
        return None, str(error).partition("\n")[0]


def _note(module: ModuleType) -> str:
    """What decides which video and which engines there are."""
    if module.__name__ == "cv2":
        found = re.findall(r"^ *(FFMPEG|GStreamer): +(YES|NO)", module.getBuildInformation(), re.MULTILINE)
        return ", ".join(f"{name} {answer.lower()}" for name, answer in found)
    if module.__name__ == "onnxruntime":
        return ", ".join(name.removesuffix("ExecutionProvider") for name in module.get_available_providers())
    return ""


def _l4t(release: str) -> str:
    """'# R36 (release), REVISION: 4.3, GCID: ...' -> '36.4.3'."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return f"{match[1]}.{match[2]}" if match else "unknown"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
