"""No bit of a training, an evaluation or a prediction depends on the number of threads."""

import pytest
from bits import NETWORKS, THREADS, same_on_any_threads


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_same_on_any_threads(network):
    same_on_any_threads(network, THREADS)
