"""A model that is not what it should be is refused in one sentence by every engine and by build, and nothing is left behind."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from vreid.cli.main import main
from vreid.deploy.build.engine import engine_from_onnx
from vreid.deploy.lower import half_from
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Manifest, read_manifest, write_manifest
from vreid.runtime.embedder import open_embedder

Graph = onnx.ModelProto
ENGINES = ("onnxruntime", "openvino")
BUILDS = (*ENGINES, "tensorrt_rtx")


def newer(graph: Graph) -> None:
    graph.opset_import[0].version = 99


def with_two_outputs(graph: Graph) -> None:
    graph.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", 3]))


def of_any_height(graph: Graph) -> None:
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"


def for_one_image(graph: Graph) -> None:
    for value in (graph.graph.input[0], graph.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def of_floats(graph: Graph) -> None:
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def with_weights_elsewhere(graph: Graph) -> None:
    scale = numpy_helper.from_array(np.ones(3, np.float32), "scale")
    graph.graph.initializer.append(scale)
    graph.graph.node[1].output[0] = "unscaled"
    graph.graph.node.insert(2, helper.make_node("Mul", ["unscaled", "scale"], ["mean"]))
    onnx.external_data_helper.set_external_data(graph.graph.initializer[0], "gone.bin")
    graph.graph.initializer[0].ClearField("raw_data")


def elsewhere() -> onnx.TensorProto:
    """Three ones in a file that is there, so that nothing fails but the rule."""
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "scale")
    onnx.external_data_helper.set_external_data(tensor, "there.bin")
    tensor.ClearField("raw_data")
    return tensor


def scaled(graph: Graph, *nodes: onnx.NodeProto) -> None:
    """The mean times what `nodes` give as "scale"."""
    graph.graph.node[1].output[0] = "unscaled"
    for place, node in enumerate((*nodes, helper.make_node("Mul", ["unscaled", "scale"], ["mean"]))):
        graph.graph.node.insert(2 + place, node)


def with_a_constant_elsewhere(graph: Graph) -> None:
    scaled(graph, helper.make_node("Constant", [], ["scale"], value=elsewhere()))


def with_a_sparse_constant_elsewhere(graph: Graph) -> None:
    values = elsewhere()
    indices = numpy_helper.from_array(np.arange(3), "indices")
    sparse = helper.make_sparse_tensor(values, indices, [3])
    scaled(graph, helper.make_node("Constant", [], ["scale"], sparse_value=sparse))


def with_a_branch_elsewhere(graph: Graph) -> None:
    tensor = elsewhere()
    tensor.name = "inner"
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [3])
    branch = helper.make_graph([helper.make_node("Identity", ["inner"], ["out"])], "branch", [], [out], [tensor])
    true = helper.make_node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(True), "true"))
    scaled(graph, true, helper.make_node("If", ["true"], ["scale"], then_branch=branch, else_branch=branch))


def with_a_function_elsewhere(graph: Graph) -> None:
    inside = [helper.make_node("Constant", [], ["out"], value=elsewhere())]
    opset = [helper.make_opsetid("", graph.opset_import[0].version)]
    graph.functions.append(helper.make_function("own", "Scale", [], ["out"], inside, opset))
    graph.opset_import.append(helper.make_opsetid("own", 1))
    scaled(graph, helper.make_node("Scale", [], ["scale"], domain="own"))


def with_training_elsewhere(graph: Graph) -> None:
    graph.training_info.add().algorithm.initializer.append(elsewhere())


BAD: dict[str, tuple[Callable[[Graph], None], str]] = {
    "external data that is missing": (with_weights_elsewhere, "keeps its weights .* in another file"),
    **{
        f"external data in a {where}": (change, "keeps its weights .* in another file")
        for where, change in {
            "Constant": with_a_constant_elsewhere,
            "sparse Constant": with_a_sparse_constant_elsewhere,
            "branch": with_a_branch_elsewhere,
            "function": with_a_function_elsewhere,
            "training": with_training_elsewhere,
        }.items()
    },
    "an unknown opset": (newer, "opset 99"),
    "two outputs": (with_two_outputs, "gives embedding .*, mean .* and its manifest says embedding"),
    "a dynamic height": (of_any_height, r"takes images uint8 \(any, any, 8, 3\) and its manifest says"),
    "one image at a time": (for_one_image, "takes 1 images at a time and its manifest says 1 8 32"),
    "another input": (of_floats, "takes images float32 .* and its manifest says images uint8"),
}


def whole(path: Path, content: bytes, backend: str = "onnxruntime") -> Path:
    """The manifest at `path` with this engine, whose hash is right."""
    engine = path.with_name("colour.onnx")
    engine.write_bytes(content)
    manifest = Manifest.model_validate_json(path.read_text())
    write_manifest(manifest.model_copy(update={"sha256": sha256_of(engine), "backend": backend}), path)
    return path


def spoilt(path: Path, change: Callable[[Graph], None], backend: str = "onnxruntime") -> Path:
    graph = onnx.load(str(path.with_name("colour.onnx")))
    change(graph)
    return whole(path, graph.SerializeToString(), backend)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def needs(engine: str) -> None:
    pytest.importorskip(engine, reason=f"{engine} is not installed")


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_does_not_open_it(tiny_model: Path, engine: str, kind: str) -> None:
    needs(engine)
    change, said = BAD[kind]
    tiny_model.with_name("there.bin").write_bytes(np.ones(3, np.float32).tobytes())
    with pytest.raises(Refused, match=said):
        open_embedder(spoilt(tiny_model, change, engine))


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("engine", BUILDS)
def test_build_makes_nothing_of_it(tiny_model: Path, engine: str, kind: str) -> None:
    needs(engine)
    change, said = BAD[kind]
    path = spoilt(tiny_model, change)
    before = files(path.parent)
    with pytest.raises(Refused, match=said):
        engine_from_onnx(path, engine)
    assert files(path.parent) == before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("content", ["empty", "noise", "cut short", "zeros"])
def test_what_is_no_graph_is_refused(
    tiny_model: Path, engine: str, content: str, capfd: pytest.CaptureFixture[str]
) -> None:
    needs(engine)
    good = tiny_model.with_name("colour.onnx").read_bytes()
    data = {"empty": b"", "noise": b"no graph", "cut short": good[: len(good) // 2], "zeros": bytes(500)}[content]
    with pytest.raises(Refused, match="cannot load"):
        open_embedder(whole(tiny_model, data, engine))
    assert capfd.readouterr() == ("", "")  # libraries have nothing to say beside the sentence
    with pytest.raises(Refused, match="cannot load"):
        engine_from_onnx(whole(tiny_model, data), engine)


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind.startswith("external data")])
def test_every_verb_refuses_weights_in_another_file(
    tiny_model: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, engine = spoilt(tiny_model, BAD[kind][0]), tiny_model.with_name("colour.onnx")
    monkeypatch.chdir(tiny_model.parent)  # where engines that are given bytes look for other files
    Path("there.bin").write_bytes(np.ones(3, np.float32).tobytes())
    out = ["--out", str(tmp_path / "out.onnx")]
    for words in (
        ["bench", str(path)],
        ["profile", str(path)],
        ["adopt", str(engine), *out],
        ["build", str(path), "--engine", "onnxruntime", "--out", str(tmp_path / "out.json")],
    ):
        assert main(words) == (1 if words[0] == "bench" else 2), words  # bench goes on with its other models
        assert "in another file" in " ".join(capsys.readouterr().err.split()), words
    with pytest.raises(Refused, match="in another file"):
        half_from(path, tmp_path / "out.onnx")


# The disk


@contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A folder that takes a few kB: a small tmpfs where that may be mounted, else a limit on the size of files."""
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "vreid-test", str(place)], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield place
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def closed_folder(folder: Path) -> Iterator[Path]:
    """A folder that may not be written to: by its permissions, and for root by a mount that is read only."""
    place = folder / "closed"
    place.mkdir(mode=0o555)
    if os.geteuid() != 0:
        yield place
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k,ro", "vreid-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("root may write everywhere and may not mount here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("engine", BUILDS)
def test_a_full_disk_leaves_nothing_half_written(tiny_model: Path, tmp_path: Path, engine: str) -> None:
    needs(engine)
    graph = onnx.load(str(tiny_model.with_name("colour.onnx")))
    graph.doc_string = "long " * 4000  # 20 kB
    path = whole(tiny_model, graph.SerializeToString())
    with full_disk(tmp_path) as place:
        with pytest.raises(Refused, match=r"cannot write .*(No space left|File too large).*room on the disk"):
            engine_from_onnx(path, engine, place / "out.json")
        assert not list(place.iterdir())


@pytest.mark.parametrize("engine", BUILDS)
def test_a_folder_that_may_not_be_written_to(
    tiny_model: Path, tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(engine)
    with closed_folder(tmp_path) as place:
        words = ["build", str(tiny_model), "--engine", engine, "--out", str(place / "out.json"), "--json"]
        assert main(words) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("vreid: cannot write") and said.err.count("\n") == 1
        assert not list(place.iterdir())
    words[words.index(str(place / "out.json"))] = str(tiny_model / "deeper.json")  # below a file
    assert main(words) == 2 and "cannot write" in capsys.readouterr().err


# An engine of another machine

DRIVER = """
#include <string.h>
int cuDriverGetVersion(int *v) { *v = 12060; return 0; }
int cuInit(unsigned f) { return f; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *s, int n, int d) { strncpy(s, "Orin", n); return d; }
int cuDeviceGetAttribute(int *v, int what, int d) { *v = what == 75 ? 8 : what == 76 ? 7 : what == 16 ? 8 : -1; return d; }
"""
OPEN = """
import sys, types
from pathlib import Path
from vreid.runtime.engines import devices
devices.BOARD = Path(sys.argv[1])
sys.modules["tensorrt"] = types.SimpleNamespace(__version__="10.3.0")  # JetPack's, which no registry has
from vreid.models.errors import Refused
from vreid.runtime.embedder import open_embedder
for model in sys.argv[2:]:
    try:
        open_embedder(model)
        print()
    except Refused as refused:
        print(refused)
"""
ORIN = {
    "device": "Orin", "compute_capability": "8.7", "multiprocessors": "8", "board": "NVIDIA Jetson Orin NX",
    "tensorrt": "10.3.0", "driver": "12.6",
}  # fmt: skip
OLD = {
    field: value for field, value in ORIN.items() if field not in ("multiprocessors", "board")
}  # as earlier commits wrote it


OF_OTHERS: list[tuple[dict[str, str] | None, str]] = [
    ({**ORIN, "device": "NVIDIA Thor"}, "was built for device NVIDIA Thor and here is Orin; run vreid build again"),
    ({**ORIN, "compute_capability": "8.6"}, "for compute capability 8.6 and here is 8.7; run vreid build again"),
    ({**ORIN, "tensorrt": "10.7.0"}, "for TensorRT 10.7.0 and here is 10.3.0; run vreid build again"),
    ({**ORIN, "driver": "12.2"}, "for driver 12.2 and here is 12.6; run vreid build again"),
    (
        {**ORIN, "multiprocessors": "16"},
        "for a number of multiprocessors of 16 and here is 8; run vreid build again",
    ),
    (
        {**ORIN, "board": "NVIDIA Jetson Orin Nano"},
        "for board NVIDIA Jetson Orin Nano and here is NVIDIA Jetson Orin NX",
    ),
    (OLD, "for a number of multiprocessors of unknown and here is 8; run vreid build again"),
    ({}, "for device unknown and here is Orin"),
    (None, "is not built for any device; run: vreid build"),
    (ORIN, "no binding to CUDA works here"),  # so the key was right
]


@pytest.fixture(scope="module")
def of_others(colour_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What opening an engine says for each of OF_OTHERS, in a process with a stub of the driver that knows an Orin; nothing of
    the files is given to TensorRT."""
    folder, models = tmp_path_factory.mktemp("stub"), []
    (folder / "driver.c").write_text(DRIVER)
    (folder / "board").write_bytes(b"NVIDIA Jetson Orin NX\0")
    library = str(folder / "libcuda.so.1")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(folder / "driver.c")], check=True, timeout=60)
    shutil.copy(colour_model.with_suffix(".onnx"), folder)
    for place, (built_for, _) in enumerate(OF_OTHERS):
        models.append(str(folder / f"{place}.json"))
        about = {"backend": "tensorrt", "built_for": built_for}
        write_manifest(read_manifest(colour_model).model_copy(update=about), Path(models[-1]))
    blocked = "import sys; sys.modules['pycuda'] = sys.modules['cuda'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + OPEN, str(folder / "board"), *models],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
    )
    assert done.stdout.count("\n") == len(OF_OTHERS)
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler to make a stub of libcuda with")
@pytest.mark.parametrize("place", range(len(OF_OTHERS)))
def test_an_engine_of_another_machine_is_refused(of_others: list[str], place: int) -> None:
    assert OF_OTHERS[place][1] in of_others[place]


def test_a_changed_engine_is_never_opened(tiny_model: Path) -> None:
    built = engine_from_onnx(tiny_model, "onnxruntime")
    engine = tiny_model.with_name(built.manifest.engine)
    engine.write_bytes(engine.read_bytes() + b"\0")
    with pytest.raises(Refused, match="sha256 differs"):
        open_embedder(built.path)
