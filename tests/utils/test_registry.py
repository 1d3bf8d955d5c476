"""Registries: an unknown name is refused with similar ones, and a taken name is not given away."""

import pytest

from evenface.utils.errors import InputError
from evenface.utils.registry import Registry, find


class One:
    pass


class Other:
    pass


def test_an_unknown_name_is_refused_with_similar_ones():
    known = Registry("thing", {"alpha": One, "beta": Other})
    assert known["alpha"] is One
    for lookup in (lambda: known["alhpa"], lambda: find("thing", "alhpa", {"alpha": One, "beta": Other})):
        with pytest.raises(InputError, match="there is no thing 'alhpa'") as told:
            lookup()
        assert told.value.hint == "Did you mean alpha?"
    assert known.get("gamma") is None
    assert "gamma" not in known


def test_a_name_that_is_taken_keeps_its_class():
    known = Registry("thing", {"alpha": One})
    known.register("alpha", One)
    with pytest.raises(ValueError, match="there already is a thing 'alpha': One of"):
        known.register("alpha", Other)
    known.register("beta", Other)
    assert known == {"alpha": One, "beta": Other}
