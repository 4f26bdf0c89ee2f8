"""Scans are dealt into pools that never meet."""

import numpy as np

from tasks.sample.scans import SHARES, deal


def test_every_scan_is_in_one_pool_and_no_scan_in_two():
    pools = deal(seed=17)
    everything = [scan.tobytes() for pool in pools.values() for scan in pool.scans]
    assert list(pools) == list(SHARES)
    assert len(everything) == 1797 == len(set(everything))


def test_every_pool_has_every_digit_in_its_share():
    for name, pool in deal(seed=17).items():
        counts = np.bincount(pool.digits, minlength=10)
        assert counts.min() >= 5
        assert abs(len(pool.digits) / 1797 - SHARES[name]) < 0.01


def test_the_seed_decides_the_deal():
    one, same, other = deal(1)["holdout"], deal(1)["holdout"], deal(2)["holdout"]
    assert np.array_equal(one.scans, same.scans)
    assert not np.array_equal(one.scans, other.scans)


def test_a_scan_keeps_its_digit():
    from sklearn.datasets import load_digits

    data = load_digits()
    known = {
        (scan / 16).astype(np.float32).tobytes(): digit for scan, digit in zip(data.images, data.target, strict=True)
    }
    pool = deal(3)["mmmu"]
    assert [known[scan.tobytes()] for scan in pool.scans] == pool.digits.tolist()
    assert set(pool.digits[pool.of(7)]) == {7}
