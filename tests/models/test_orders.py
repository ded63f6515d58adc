"""Random orders against all orders."""

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimprobe.errors import OptionError
from mimprobe.models.orders import possible_counts, random_order

KINDS = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def all_orders(kin):
    """List every order in which each block stands at a place of its kind."""
    places = range(len(kin))
    return [order for order in permutations(places) if [kin[block] for block in order] == list(kin)]


def moved(order):
    return sum(block != place for place, block in enumerate(order))


@given(KINDS)
def test_possible_counts_are_those_of_all_orders(kin):
    assert possible_counts(kin) == sorted({moved(order) for order in all_orders(kin)})


@given(KINDS, st.integers(0, 7), st.integers(0, 99))
def test_so_many_move_and_only_within_their_kind(kin, k, seed):
    if k not in possible_counts(kin):
        with pytest.raises(OptionError, match=f"^{k} blocks cannot change places: "):
            random_order(kin, k, seed)
        return
    order = random_order(kin, k, seed)
    assert tuple(order) in all_orders(kin)
    assert moved(order) == k
    assert order == random_order(kin, k, seed)


def test_every_order_is_as_likely_as_any_other():
    kin = (0, 0, 0, 0, 1, 1)
    expected = {order for order in all_orders(kin) if moved(order) == 3}
    found = Counter(tuple(random_order(kin, 3, seed)) for seed in range(800))
    assert found.keys() == expected
    share = 800 / len(expected)
    assert all(abs(count - share) < 5 * share**0.5 for count in found.values())
