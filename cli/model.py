"""What a MODEL argument names, opened to embed: a checkpoint, a lowered model, or a baseline."""

from dataclasses import dataclass

from vreid.models.bundled import is_checkpoint
from vreid.train.evaluate import Embed


@dataclass(frozen=True)
class Model:
    """`embed` answers, `backend` is what it runs on; `space` names its embedding space, one for a checkpoint and everything
    lowered from it; `trained` holds the keys of the pictures that a checkpoint learnt from, where it tells."""

    embed: Embed
    backend: str
    space: str
    trained: frozenset[int] = frozenset()


def opened(word: str, threads: int, device: str = "auto") -> Model:
    """A checkpoint .pt (on auto, cpu or cuda), a manifest .json, a bundled name, or hsv."""
    if word == "hsv":
        from vreid.train.evaluate import hsv_histograms

        return Model(hsv_histograms, "numpy", word)
    if is_checkpoint(word):
        import torch

        from vreid.models.checkpoint import fingerprint_of, load_checkpoint, network_from
        from vreid.train.evaluate import embed_with
        from vreid.train.parallel import device_of, started_as

        torch.set_num_threads(threads)
        checkpoint = load_checkpoint(word)
        network = network_from(checkpoint).to(device_of(device, started_as()[2]))
        trained = frozenset() if checkpoint.trained is None else frozenset(checkpoint.trained.tolist())
        return Model(embed_with(network), "torch", fingerprint_of(checkpoint), trained)
    from vreid.models.bundled import manifest_path
    from vreid.runtime.embedder import open_embedder

    embedder = open_embedder(manifest_path(word), threads)
    return Model(embedder.embed, embedder.manifest.backend, embedder.manifest.fingerprint)
