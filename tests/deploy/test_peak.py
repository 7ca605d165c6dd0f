"""The measured peak is that of a real matrix product."""

import numpy as np
import pytest

from vreid.deploy.device import SIDE, Gemm, share_of_peak


def test_the_product_is_a_product() -> None:
    gemm = Gemm(threads=1)
    left, right = np.random.default_rng(0).standard_normal((2, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(gemm(), left @ right, atol=1e-3)
    assert Gemm.flops == 2 * SIDE**3


def test_the_share_is_flops_by_time() -> None:
    assert share_of_peak(Gemm.flops, 10.0, 10.0) == pytest.approx(1)
    assert share_of_peak(Gemm.flops // 4, 5.0, 10.0) == pytest.approx(0.5)
