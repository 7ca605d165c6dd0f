"""The range of --seed, the same in every verb."""

from vreid.models.errors import Refused

LARGEST = 2**64 - 1  # of torch.manual_seed; NumPy takes any number from 0


def refuse_seed(seed: int) -> None:
    """Raises Refused for a seed that torch or NumPy does not take."""
    if not 0 <= seed <= LARGEST:
        raise Refused(f"--seed {seed} is out of range; give 0 to {LARGEST} (2**64 - 1)")
