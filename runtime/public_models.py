"""Public networks that `vreid get` fetches: where each lies, its size, hash and licence, and where the hash stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from vreid.models.errors import Refused, shown
from vreid.runtime.download import KnownFile, copied, digest_of, downloaded, is_there

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
_OPENVINO = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/"
_ZOO = "openvinotoolkit/open_model_zoo"
_AUDIT = "TomokiAkiyama06/server-sentinel@01585ec server/docs/YOLOX_EVALUATION_AUDIT.md, computed there"


@dataclass(frozen=True)
class PublicModel:
    """A network of somebody else. `job`: what it is to vreid; `source`: where its hashes stand, or whose bytes they are of."""

    name: str
    job: str  # detector, embedder or weights
    about: str
    licence: str
    source: str
    files: Sequence[KnownFile]  # the first is the one that is opened

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def _yolox(name: str, about: str, size: int, digest: str) -> PublicModel:
    licence = "Apache-2.0 (the repository's)"
    file = KnownFile(f"{_YOLOX}{name}.onnx", size, f"sha256:{digest}")
    return PublicModel(name, "detector", about, licence, _AUDIT, (file,))


def _zoo(
    name: str, about: str, release: str, commit: str, graph: tuple[int, str], weights: tuple[int, str], source: str = ""
) -> PublicModel:
    """A detector of Intel's Open Model Zoo in FP16; `graph` and `weights`: size and digest of .xml and .bin, as the zoo's
    model.yml of `commit` has them, or `source`."""
    at = f"{_OPENVINO}{release}/{name}/FP16/{name}"
    files = KnownFile(f"{at}.xml", *graph), KnownFile(f"{at}.bin", *weights)
    source = source or f"{_ZOO}@{commit} models/intel/{name}/model.yml"
    return PublicModel(name, "detector", f"{about}, OpenVINO IR", "Apache-2.0", source, files)


_ALL = (
    _yolox(
        "yolox_nano", "YOLOX, 416 x 416, COCO", 3_659_407,
        "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
    ),
    _yolox(
        "yolox_tiny", "YOLOX, 416 x 416, COCO", 20_219_662,
        "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
    ),
    _yolox(
        "yolox_s", "YOLOX, 640 x 640, COCO", 35_858_002,
        "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
    ),
    _zoo(
        "person-vehicle-bike-detection-2000", "SSD, 256 x 256", "2021.4/models_bin/3", "00a4830",
        (200_399, "sha256:cce93611ff07aceea0c07c20faa42caec5ee1837eb558a36e7509fc5dacdbc8c"),
        (3_642_598, "sha256:c64141e1f48ac75c5a4b1bac40b5400fdac8c4aaeae386eae73bc2bc9168c312"),
    ),
    _zoo(
        "person-vehicle-bike-detection-2001", "SSD, 384 x 384", "2021.3/models_bin/1", "1eae676",
        (195_503, "sha256:d9c87eef6237e59d1a82c96c0b48908102440182289428193ad847c4ceb60fe3"),
        (3_642_598, "sha256:1e3089a94f70387281499594b9b769d4c0a64d1fd158184e7a04a98f031fe4fa"),
    ),
    _zoo(
        "person-vehicle-bike-detection-2002", "SSD, 512 x 512", "2022.1/models_bin/3", "039487a",
        (
            300_119,
            "sha384:e94f8260f875a7eb4a254430b32f28047d36e8bc04eb508cae3ce89fcb8571b7e7c642e416086e491ace1694aa1bb0c9",
        ),
        (
            3_642_626,
            "sha384:691e4caf8161058dec0ee482cd2ac81b0beda330b733a9894adbbb1d63d3c11afb93c12e95d193722454dbb8b34d0519",
        ),
    ),
    _zoo(
        "person-vehicle-bike-detection-2003", "ATSS, 864 x 480", "2021.4/models_bin/3", "99e09d7",
        (1_297_964, "sha256:916c6079ec6ab1c99b2b9a65d64a89c03885b6142916086b2cdfe0969c28efca"),
        (3_906_004, "sha256:3f99483cdc8090c38d39dc9fe75ed26692224797ea72c376a8ee082dd1e92dd4"),
    ),
    _zoo(
        "person-vehicle-bike-detection-2004", "ATSS, 448 x 256", "2021.4/models_bin/3", "082858a",
        (
            1_296_737,
            "sha384:8c61102021677d0e02e185356e494bf9552ece535d2a80cd2d76f65e695518627462009cccc245dc1b0a3842b455d1a0",
        ),
        (
            3_906_004,
            "sha384:4b7fe5676e3593411b259c26c6384682b1ead9bde50acc935cd00294442bee61dcc4ef38140c19c5c4d00d56630b9109",
        ),
    ),
    _zoo(
        "vehicle-detection-0200", "SSD, 256 x 256", "2021.4/models_bin/3", "e929341",
        (200_359, "sha256:25994cafe800089d7915a4395fcd465be934cccb44ea47addc9a43c6fffa487c"),
        (3_634_626, "sha256:8e2779dd1bbed6f08a923ed8a2d581ab5bec6de487849726708f9e8b18c3556f"),
    ),
    _zoo(
        "vehicle-detection-0201", "SSD, 384 x 384", "2021.4/models_bin/3", "00a4830",
        (200_550, "sha256:dce856c50ad70c3f2c6276eb0d4301459afaef50fd58daf69c641d87553017b4"),
        (3_634_626, "sha256:25c70860906bc9bc1470b95983c7638ec704205094a1716eacfe3b7eb413c046"),
    ),
    _zoo(
        "vehicle-detection-0202", "SSD, 512 x 512", "2023.0/models_bin/1", "",
        (254_888, "sha256:08b844a402a615605a626261fd9e27161a044845426ece5aa0872203c50bb5a2"),
        (3_634_654, "sha256:c0a602428cfd71ac63a533c23b7cdb8c83e144f118a81001420246701daf0c78"),
        "prsmith777/ALPR-Database-Community@8cd1efd models/visual-search/README.md, and computed from its files by vreid",
    ),
    PublicModel(
        "vehicle-reid-0001", "embedder", "OSNet-AIN, 208 x 208, ONNX", "MIT",
        f"{_ZOO}@7c881af models/public/vehicle-reid-0001/model.yml; the address: @17047d1",
        (
            KnownFile(
                f"{_OPENVINO}public/2022.1/vehicle-reid-0001/osnet_ain_x1_0_vehicle_reid.onnx", 8_836_743,
                "sha256:4aaad3e5db648618b0df3d2ff21c61323985ff9e50194c3d2edd4fb87c92d91f",
            ),
        ),
    ),
    PublicModel(
        "mobilenet_v2-imagenet", "weights", "MobileNetV2, ImageNet, torchvision's first", "BSD-3-Clause",
        f"{_ZOO}@36d1905 models/public/mobilenet-v2-pytorch/model.yml",
        (
            KnownFile(
                "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", 14_212_972,
                "sha256:b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            ),
        ),
    ),
)  # fmt: skip
MODELS = {model.name: model for model in _ALL}


def model_named(name: str) -> PublicModel:
    """The entry of that name. Raises Refused where there is none."""
    if name not in MODELS:
        near = get_close_matches(name, list(MODELS), 1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        raise Refused(f"there is no public model '{shown(name)}'{meant} (vreid get lists them)")
    return MODELS[name]


def fetched(
    model: PublicModel,
    folder: Path,
    local: Sequence[Path] = (),
    progress: Callable[[int, int], None] = lambda done, of: None,
    pause: float = 1.0,
) -> list[Path]:
    """The files of `model` in `folder`, its own in the cache of models; those that are there already stay.

    With `local`, files or folders that hold them, nothing is downloaded. `progress` gets bytes done and in all. Raises Refused
    where a file cannot be had or has another hash.
    """
    found, before = [], 0
    places = [path for given in local for path in (sorted(given.iterdir()) if given.is_dir() else [given])]
    for file in model.files:
        if is_there(file, folder):
            found.append(folder / file.name)
        elif local:
            found.append(copied(file, _among(file, places), folder))
        else:

            def so_far(done: int, of: int, before: int = before) -> None:
                progress(before + done, model.size)

            found.append(downloaded(file, folder, so_far, pause))
        before += file.size
        progress(before, model.size)
    return found


def _among(file: KnownFile, places: Sequence[Path]) -> Path:
    """That of `places` which is the file, else that of its name or the only one of its kind, whose hash is then refused."""
    files = [path for path in places if path.is_file()]
    same = [path for path in files if path.stat().st_size == file.size and digest_of(path, file.digest) == file.digest]
    named = [path for path in files if path.name == file.name]
    alike = [path for path in files if path.suffix == Path(file.name).suffix]
    found = same or named or (alike if len(alike) == 1 else [])
    if not found:
        raise Refused(f"--from has no {file.name} of {file.size:,} bytes; give it, or the folder where it lies")
    return found[0]


def is_public(name: str) -> bool:
    """Whether there is an entry of that name."""
    return name in MODELS


def models_folder(environment: Mapping[str, str]) -> Path:
    """The cache of models: vreid/models in the user's cache, by the XDG Base Directory Specification."""
    return cache_folder(environment) / "models"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """vreid in the user's cache."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vreid"


def with_public_model(detector: str, folder: Path) -> str:
    """A detector's address with the name of a public model replaced by its file in `folder`, the cache of models.

    What is a file stays as it is. Raises Refused for a model that was not fetched yet, or is not a detector.
    """
    kind, _, rest = detector.partition(":")
    target, mark, query = rest.partition("?")
    if kind in ("motion", "replay") or target not in MODELS or Path(target).exists():
        return detector
    model = MODELS[target]
    if model.job != "detector":
        raise Refused(f"{target} is not a detector but {model.job}; vreid get lists what is one")
    if not all((folder / target / file.name).is_file() for file in model.files):
        raise Refused(f"{target} is not here yet; fetch it once: vreid get {target}")
    return f"{kind}:{folder / target / model.files[0].name}{mark}{query}"
