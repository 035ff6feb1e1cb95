"""The sink rate against a plain loop over steps, layers, heads and positions."""

from __future__ import annotations

import numpy as np
import pytest

from sap_core.errors import InvalidInput
from sap_core.sinks.sink_rate import sink_rate
from sap_core.trajectory.synthetic import synthetic_trajectory

STEPS, LAYERS, HEADS, POSITIONS = 7, 3, 4, 12


def column_sum_rate(data, layers, heads) -> np.ndarray:
    """The rule `column_sum` with threshold 3, written out: c_j = Q r_j, compared with the mean of the others."""
    received, valid, masked = (data[name].values for name in ("received", "valid", "masked"))
    found = np.full((STEPS, POSITIONS), np.nan)
    for step in range(STEPS):
        causal = data.attrs["objective"] == "autoregressive"
        there = [j for j in range(POSITIONS) if valid[j] and not (causal and masked[step, j])]
        for j in there:
            sinks = 0
            for layer in layers:
                for head in heads:
                    sums = [len(there) * float(received[step, layer, head, i]) for i in there]
                    own = len(there) * float(received[step, layer, head, j])
                    sinks += own > (sum(sums) - own) / (len(there) - 1) + 3
            found[step, j] = sinks / (len(layers) * len(heads))
    return found


@pytest.mark.parametrize("objective", ["masked_diffusion", "autoregressive"])
@pytest.mark.parametrize(("layer", "head"), [(None, None), (1, None), (None, 2), (2, 1)])
def test_the_rate_is_that_of_a_plain_loop(objective, layer, head):
    data = synthetic_trajectory("mixed", STEPS, LAYERS, HEADS, POSITIONS, objective=objective)
    layers = range(LAYERS) if layer is None else [layer]
    heads = range(HEADS) if head is None else [head]
    expected = column_sum_rate(data, layers, heads)
    assert np.nanmax(expected) > 0 and (objective == "masked_diffusion" or np.isnan(expected).any())
    np.testing.assert_allclose(sink_rate(data, layer=layer, head=head), expected, rtol=1e-6)


def test_what_a_run_does_not_have_is_an_error():
    data = synthetic_trajectory("fixed", 3, 2, 2, 8)
    for wrong in ({"layer": 2}, {"head": 2}, {"sample": 1}):
        with pytest.raises(InvalidInput, match="the run has"):
            sink_rate(data, **wrong)
