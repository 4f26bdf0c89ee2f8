"""The 1,797 handwritten digits that scikit-learn ships, dealt into pools that never meet.

    pools = deal(seed=17)
    pools["holdout"].scans     # (n, 8, 8) float32, 0 is paper and 1 is ink
    pools["holdout"].digits    # (n,) what each scan shows

Every picture is drawn from the scans of one pool, so no handwriting that is trained on turns up in the hold-out or in
a benchmark. Source of the scans: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998, test part.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARES = {
    "base": 0.46,  # pre-training of the CLIP pair and of the base model
    "train": 0.27,
    "validation": 0.03,
    "holdout": 0.12,
    "mme": 0.04,
    "textvqa": 0.04,
    "mmmu": 0.04,
}
"""Each pool's share of the scans of every digit."""


@dataclass(frozen=True)
class Pool:
    """Scans that may stand together in a picture."""

    scans: NDArray[np.float32]
    """(n, 8, 8), 0 is paper and 1 is ink."""
    digits: NDArray[np.int64]
    """(n,), 0 to 9."""

    def of(self, digit: int) -> NDArray[np.int64]:
        """Where the pool's scans of a digit are."""
        return np.flatnonzero(self.digits == digit)


def deal(seed: int) -> dict[str, Pool]:
    """The pools by name, each with the same mix of digits; the same seed deals the same pools."""
    from sklearn.datasets import load_digits  # here, because it takes a second to import

    data = load_digits()
    scans = (data.images / 16).astype(np.float32)
    rng = np.random.default_rng(seed)
    places: dict[str, list[NDArray[np.int64]]] = {name: [] for name in SHARES}
    for digit in range(10):
        shuffled = rng.permutation(np.flatnonzero(data.target == digit))
        bounds = np.round(np.cumsum(list(SHARES.values())) * len(shuffled)).astype(int)
        for name, part in zip(SHARES, np.split(shuffled, bounds[:-1]), strict=True):
            places[name].append(part)
    return {name: _pool(scans, data.target, np.concatenate(parts)) for name, parts in places.items()}


def _pool(scans: NDArray[np.float32], digits: NDArray[np.int64], places: NDArray[np.int64]) -> Pool:
    return Pool(scans=scans[places], digits=digits[places].astype(np.int64))
