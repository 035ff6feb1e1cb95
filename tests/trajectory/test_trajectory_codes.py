"""The 8-bit code keeps what it promises: bound, maximum and its place, zeros, never more part than whole."""

import numpy as np
import pytest

from sap_core.trajectory.quantization import (
    BOUND,
    MU,
    PART_BOUND,
    decode_part,
    decode_rows,
    encode_part,
    encode_rows,
    from_half,
    to_half,
)


@pytest.fixture(scope="module")
def shares():
    """Rows from even to a sink that takes nearly all, over ten orders of magnitude, some positions nothing."""
    random = np.random.default_rng(0)
    rows = np.exp(random.normal(0, 1, (64, 512)) * np.linspace(0.01, 6, 64)[:, None]).astype(np.float32)
    rows[:, 500:] = 0
    return rows / rows.sum(-1, keepdims=True)


def test_the_error_is_within_its_bound_and_comes_near_it(shares):
    codes, top = encode_rows(shares)
    assert codes.dtype == np.uint8 and top.dtype == np.float32
    error = np.abs(decode_rows(codes, top) - shares) / (shares + top[:, None] / MU)
    assert error.max() <= BOUND * (1 + 1e-4)
    assert error.max() > 0.9 * BOUND, "the bound is not loose"
    assert 0.022 < BOUND < 0.0221


def test_halves_are_those_of_numpy_bit_for_bit(shares):
    edge = np.float32(2.0**-14)  # the smallest normal half, and what rounds up to it
    steps = np.arange(5, dtype=np.float32) * np.float32(2.0**-26)  # quarters of the smallest half: ties to even
    odd = np.array([edge, np.nextafter(edge, np.float32(0)), 1, 0, np.nan, 70000, *steps, *(edge - steps)], np.float32)
    for values in (shares, odd):
        with np.errstate(over="ignore"):
            found, expected = to_half(values), values.astype(np.float16)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))
    assert (shares < edge).any() and (shares > edge).any()
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    back = from_half(every[:, ::-1])
    np.testing.assert_array_equal(back.view(np.uint32), every[:, ::-1].astype(np.float32).view(np.uint32))


def test_the_maximum_its_place_and_nothing_are_exact(shares):
    close = np.array([[0.3, 0.3 * (1 - 1e-6), 0.3, 0.1]], np.float32)  # rounding must not make a second maximum
    for rows in (shares, close):
        found = decode_rows(*encode_rows(rows))
        np.testing.assert_array_equal(found.argmax(-1), rows.argmax(-1))
        np.testing.assert_array_equal(found.max(-1), rows.max(-1))
        assert ((found == found.max(-1, keepdims=True)).sum(-1) == 1).all()
        assert (found[rows == 0] == 0).all()


def test_rows_without_attention_and_without_values():
    found = decode_rows(*encode_rows(np.zeros((2, 4), np.float32)))
    assert (found == 0).all()
    with np.errstate(invalid="ignore"):
        found = decode_rows(*encode_rows(np.array([[0.5, np.nan]], np.float32)))
    assert np.isnan(found).all()


def test_a_part_is_never_more_than_the_whole(shares):
    part = shares * np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    codes = encode_part(part, shares)
    whole = decode_rows(*encode_rows(shares))
    assert (decode_part(codes, whole) <= whole).all()
    assert (np.abs(decode_part(codes, shares) - part) <= PART_BOUND * shares * (1 + 1e-4)).all()
    assert (decode_part(codes, shares)[0] == 0).all() and (decode_part(codes, shares)[-1] == shares[-1]).all()
