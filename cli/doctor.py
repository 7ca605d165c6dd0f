"""vreid doctor: what is installed, what is missing for which job, and the fix."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from vreid.cli import output
from vreid.cli.installed import DISTRIBUTIONS, Machine, Package, numbers

NEEDS = {
    "run": ("numpy", "scipy", "cv2", "av", "simplejpeg", "onnxruntime", "faiss", "pydantic", "tyro", "rich", "jinja2"),
    "train": ("torch",),
    "training report": ("matplotlib",),
    "weights in safetensors": ("safetensors",),
    "TensorBoard events": ("tensorboardX",),
    "export": ("torch", "onnx", "onnxsim", "onnxscript"),
    "outputs": ("paho", "prometheus_client"),
    "serve": ("fastapi", "uvicorn", "python_multipart"),
    "gallery in PostgreSQL": ("psycopg", "alembic"),
    "index in Milvus": ("pymilvus", "psycopg", "alembic"),
    "fleet": ("nats", "nkeys"),
    "eval run": ("motrics",),
    "openvino engine": ("openvino",),
    "gpu engines": ("tensorrt", "cuda"),
}
FIXES = {
    "train": "pip install 'vreid[train]'",
    "training report": "pip install 'vreid[train]'",
    "weights in safetensors": "pip install 'vreid[train]'",
    "TensorBoard events": "pip install 'vreid[tensorboard]'",
    "export": "pip install 'vreid[deploy]'",
    "outputs": "pip install 'vreid[live]'",
    "serve": "pip install 'vreid[serve]'",
    "gallery in PostgreSQL": "pip install 'vreid[postgres]'",
    "index in Milvus": "pip install 'vreid[milvus]'",
    "fleet": "pip install 'vreid[fleet]'",
    "eval run": "pip install 'vreid[eval]'",
    "openvino engine": "pip install openvino",
    "gpu engines": "pip install tensorrt cuda-python",
}
GPU_PROVIDERS = ("Tensorrt", "NvTensorRTRTX", "CUDA")
JETSON_VENV = "python3 -m venv --system-site-packages .venv"


# the release of Linux for Tegra, whose first number is the JetPack's
JETPACKS = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7}


@dataclass(frozen=True)
class EngineHere:
    """One engine: whether it runs here and whether `vreid build` makes it here; `lacks` is what is in the way."""

    name: str
    runs: bool
    builds: bool
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One job: ready, or what is missing or broken and the one command that fixes it."""

    name: str
    ready: bool
    missing: tuple[str, ...]
    fix: str


def jobs(packages: Mapping[str, Package], machine: Machine) -> list[Job]:
    """Every job, by what is installed."""
    return [_gpu_job(packages, machine) if name == "gpu engines" else _job(name, packages) for name in NEEDS]


def engines(packages: Mapping[str, Package], machine: Machine) -> list[EngineHere]:
    """Every engine of the seams, by what is installed; nothing is opened."""
    sound = {module for module, package in packages.items() if not package.problem}
    providers = packages["onnxruntime"].note.split(", ") if "onnxruntime" in sound else []
    device = bool(machine.devices)
    binding = bool({"cuda", "pycuda"} & sound)

    def engine_here(name: str, to_build: Mapping[str, bool], to_run: Mapping[str, bool]) -> EngineHere:
        lacking = tuple(what for what, there in {**to_build, **to_run}.items() if not there)
        return EngineHere(name, all(to_run.values()), all(to_build.values()), lacking)

    cuda = {"an NVIDIA device": device, "a CUDA binding": binding}
    plan = {"tensorrt": "tensorrt" in sound}
    rtx = {"tensorrt_rtx": "tensorrt_rtx" in sound}
    found = []
    for name in ("onnxruntime", "openvino"):
        found.append(engine_here(name, {name: name in sound}, {name: name in sound}))
    for name, provider in (("onnxruntime_cuda", "CUDA"), ("onnxruntime_tensorrt", "Tensorrt")):
        needs = {f"the {provider} provider": provider in providers, "an NVIDIA device": device}
        found.append(engine_here(name, needs, needs))
    found.append(engine_here("tensorrt", {**plan, "an NVIDIA device": device}, {**plan, **cuda}))
    found.append(
        engine_here(
            "tensorrt_rtx", rtx, {**rtx, "an RTX card": device and not machine.jetson, "a CUDA binding": binding}
        )
    )
    torch = {module: module in sound for module in ("torch", "torch_tensorrt")}
    found.append(engine_here("torch_tensorrt", {**torch, **plan, "an NVIDIA device": device}, {**plan, **cuda}))
    return found


def jetpack(release: str) -> str:
    """L4T '36.4.3' -> 'JetPack 6'."""
    first = (numbers(release) or (0,))[0]
    return f"JetPack {JETPACKS[first]}" if first in JETPACKS else "an unknown JetPack"


def traps(packages: Mapping[str, Package], machine: Machine) -> list[str]:
    """The known ways in which packages that are there do harm: a sentence each, with its fix."""
    found = [
        f"{module} is provided by {' and '.join(packages[module].distributions)}, which overwrite each other: "
        f"pip uninstall -y {' '.join(packages[module].distributions)} && pip install {_kept(packages[module], machine)}"
        for module in ("cv2", "onnxruntime", "faiss")
        if module in packages and len(packages[module].distributions) > 1
    ]
    found += [
        f"{module} is installed and does not import: {package.problem}"
        for module, package in packages.items()
        if package.problem and module != "cuda"
    ]
    if "cuda" in packages and packages["cuda"].problem:
        found.append(f"the package 'cuda' is not the binding to CUDA: {_cuda_fix(machine)}")
    faiss = packages.get("faiss")
    if faiss and (1,) <= numbers(faiss.version) < (1, 15):
        found.append(f"faiss {faiss.version} reads index files without checking them: pip install -U 'faiss-cpu>=1.15'")
    video = packages["cv2"].note if "cv2" in packages else ""
    if "FFMPEG no" in video:
        found.append("this cv2 has no FFMPEG, so it reads no video files: pip install opencv-python-headless")
    if machine.jetson:
        found += _jetson_traps(packages, machine, machine.jetson, video)
    elif machine.driver and not machine.devices:
        found.append(
            "libcuda is here and finds no device: in a container, start it with --gpus all; else restart the machine"
        )
    return found


def _job(name: str, packages: Mapping[str, Package]) -> Job:
    missing = tuple(module for module in NEEDS[name] if module not in packages or packages[module].problem)
    by_name = "pip install --force-reinstall " + " ".join(DISTRIBUTIONS[module][0] for module in missing)
    return Job(name, not missing, missing, FIXES.get(name, by_name) if missing else "")


def _gpu_job(packages: Mapping[str, Package], machine: Machine) -> Job:
    """A device, and either an ONNX Runtime built for it or TensorRT with a binding to CUDA."""
    if not machine.devices:
        fix = "install NVIDIA's driver, where there is a GPU; without one the onnxruntime engine serves"
        return Job("gpu engines", False, ("an NVIDIA device",), fix)
    providers = packages["onnxruntime"].note if "onnxruntime" in packages else ""
    binding = any(name in packages and not packages[name].problem for name in ("cuda", "pycuda"))
    tensorrt = "tensorrt" in packages or ("tensorrt_rtx" in packages and not machine.jetson)
    if any(name in providers.split(", ") for name in GPU_PROVIDERS) or (tensorrt and binding):
        return Job("gpu engines", True, (), "")
    missing = (() if tensorrt else ("tensorrt",)) + (() if binding else ("cuda",))
    if machine.jetson and not tensorrt:
        return Job("gpu engines", False, missing, f"sudo apt install nvidia-jetpack && {JETSON_VENV}")
    wanted = [word for word, there in (("tensorrt", tensorrt), ("cuda-python", binding)) if not there]
    return Job("gpu engines", False, missing, f"pip install {' '.join(wanted)}")


def _kept(package: Package, machine: Machine) -> str:
    """Which of several distributions of one module to install again: that for the GPU where there is one."""
    for name in package.distributions:
        if package.module != "cv2" and "gpu" in name and machine.devices:
            return name
    return {"cv2": "opencv-python-headless", "onnxruntime": "onnxruntime", "faiss": "faiss-cpu"}[package.module]


def _cuda_fix(machine: Machine) -> str:
    """The binding of the driver's own CUDA: a newer one does not load on it."""
    line = "12" if machine.driver and numbers(machine.driver) < (13,) else "13"
    return f"pip uninstall -y cuda && pip install 'vreid[gpu-cu{line}]'"


def _jetson_traps(packages: Mapping[str, Package], machine: Machine, release: str, video: str) -> list[str]:
    """TensorRT comes with JetPack and only with it; JetPack 6 (L4T 36) stays on TensorRT 10."""
    found = []
    tensorrt = packages.get("tensorrt")
    if tensorrt is None:
        found.append(f"on a Jetson 'pip install tensorrt' fails by design; use JetPack's own, seen from: {JETSON_VENV}")
    elif numbers(release) < (37,) and numbers(tensorrt.version) >= (11,):
        found.append(
            f"L4T {release} runs TensorRT 10, not {tensorrt.version}: pip uninstall -y tensorrt, and use JetPack's own"
        )
    elif (1,) <= numbers(tensorrt.version) < (10, 3):
        found.append(
            f"TensorRT {tensorrt.version} is older than the 10.3 that vreid needs: update to JetPack 6.2 or later"
        )
    if "GStreamer no" in video and machine.system_cv2:
        found.append(
            f"this cv2, from pip, has no GStreamer and hides the one in {machine.system_cv2} that has it, so csi:// cameras do "
            f"not open: pip uninstall -y {' '.join(packages['cv2'].distributions) or 'opencv-python-headless'}"
        )
    elif "GStreamer no" in video:
        found.append(
            f"this cv2 has no GStreamer, so csi:// cameras do not open: use JetPack's cv2, seen from: {JETSON_VENV}"
        )
    return found


@dataclass(frozen=True)
class Args:
    """What is installed, what is missing for which job, and the fix. Exit code 1: `vreid run` would not work."""

    json: bool = False
    """print one JSON document on stdout instead of tables"""


def main(args: Args) -> int:
    """0 when the job `run` is ready, else 1."""

    from vreid.cli import installed

    packages, machine = installed.packages(), installed.machine()
    found, warnings = jobs(packages, machine), traps(packages, machine)
    here = engines(packages, machine)
    works = next(job.ready for job in found if job.name == "run")
    if args.json:
        output.document(
            {
                "works": works,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "machine": asdict(machine),
                "packages": {name: asdict(package) for name, package in packages.items()},
                "jobs": {job.name: asdict(job) for job in found},
                "engines": {engine.name: asdict(engine) for engine in here},
                "jetpack": jetpack(machine.jetson) if machine.jetson else None,
                "traps": warnings,
            }
        )
        return 0 if works else 1

    rows: list[tuple[str, str, str, str]] = []
    for module in installed.DISTRIBUTIONS:
        users = ", ".join(name for name, needs in NEEDS.items() if module in needs)
        package = packages.get(module)
        if package is None:
            rows.append((module, "-", "", users))
        else:
            rows.append((module, package.version, package.problem or package.note, users))
    output.table(
        f"Python {platform.python_version()} on {platform.platform()}", ("package", "version", "", "for"), rows
    )
    release = f"{jetpack(machine.jetson)} (L4T {machine.jetson})" if machine.jetson else ""
    board = f"{machine.model or 'Jetson'}, {release}" if machine.jetson else "no Jetson"
    driver = f"libcuda for CUDA {machine.driver}" if machine.driver else "no libcuda"
    devices = ", ".join(machine.devices) or "no NVIDIA device"
    output.result(f"{devices}; {driver}; {board}")
    rows_of_jobs = [(job.name, "yes" if job.ready else "no", ", ".join(job.missing)) for job in found]
    rows_of_engines = [
        (engine.name, "yes" if engine.runs else "no", "yes" if engine.builds else "no", ", ".join(engine.lacks))
        for engine in here
    ]
    output.table("Engines", ("engine", "runs here", "is built here", "lacking"), rows_of_engines)
    output.table("Jobs", ("job", "ready", "missing"), rows_of_jobs)
    for job in found:
        if not job.ready:  # outside the table, where no column breaks a command that is to be copied
            output.result(f"{job.name}: {job.fix}")
    for trap in warnings:
        output.result(f"warning: {trap}")
    return 0 if works else 1
