"""A figure to draw into, and none left open."""

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


@pytest.fixture
def figure():
    return Figure()


@pytest.fixture(autouse=True)
def no_figure_left_open():
    yield
    plt.close("all")
