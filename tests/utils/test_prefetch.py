"""Prefetching keeps the order, passes exceptions on and stops its thread."""

import pytest

from evenface.utils.errors import InputError
from evenface.utils.prefetch import prefetch


def test_prefetching_keeps_order_raises_in_place_and_stops():
    taken = []

    def items():
        try:
            for i in range(100):
                taken.append(i)
                yield i
        finally:
            taken.append("closed")

    prefetched = prefetch(items(), 2)
    assert [next(prefetched) for _ in range(3)] == [0, 1, 2]
    prefetched.close()
    assert taken[-1] == "closed"
    assert len(taken) < 12

    def broken():
        yield 1
        raise InputError("no")

    prefetched = prefetch(broken(), 2)
    assert next(prefetched) == 1
    with pytest.raises(InputError):
        next(prefetched)
