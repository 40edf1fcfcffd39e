"""Where a step's time goes: what is said of what was measured."""

import pytest

from rlay.cli.bench_parts import Place, break_down
from tests.cli.test_bench_rounds import turn


def parts_of(place, *rounds, **facts):
    """Return the parts and the rest by name, from rounds of turns."""
    found = break_down(rounds, place, **facts)
    parts = {part.name: part.us for part in found.parts}
    return {**parts, "other": found.other_us, "step": found.step_us}


def step(p50_us, environment_us=None):
    return turn(p50_us, environment_us=environment_us)


def test_parts_here_are_environment_copying_and_waking():
    """Nothing is between the two ends, and nothing is left."""
    one = {"step": step(10.0, 3.0), "copying": turn(4.0)}
    assert parts_of(Place.HERE, one) == {
        "environment": 3.0,
        "waking": 3.0,
        "copying": 4.0,
        "bridge": 0.0,
        "network": 0.0,
        "other": 0.0,
        "step": 10.0,
    }


def test_parts_behind_bridges_take_the_local_step_and_raw_tcp_away():
    """The bridge is what two of them add; other is how the environments differ."""
    one = {
        "step": step(100.0, 5.0),
        "local": step(20.0, 6.0),
        "copying": turn(4.0),
        "network": turn(30.0),
    }
    assert parts_of(Place.BRIDGES, one) == {
        "environment": 5.0,
        "waking": 10.0,
        "copying": 4.0,
        "bridge": 50.0,
        "network": 30.0,
        "other": 1.0,
        "step": 100.0,
    }


def test_parts_at_an_address_know_the_network_and_no_more():
    """What cannot be told apart is not known, and stands in other."""
    one = {"step": step(100.0), "copying": turn(4.0), "network": turn(30.0)}
    assert parts_of(Place.ADDRESS, one) == {
        "environment": None,
        "waking": None,
        "copying": 4.0,
        "bridge": None,
        "network": 30.0,
        "other": 66.0,
        "step": 100.0,
    }


def test_parts_of_a_mirror_take_the_heartbeat_for_the_network():
    """As long as there is one; else it is not known."""
    one = {"step": step(100.0, 7.0), "copying": turn(4.0)}
    assert parts_of(Place.MIRROR, one, heartbeat_us=20.0)["network"] == 20.0
    found = parts_of(Place.MIRROR, one)
    assert found["network"] is None
    assert (found["environment"], found["other"]) == (7.0, 89.0)


def test_an_environment_that_does_not_time_itself_is_not_guessed():
    """It says why, and waking is not known either."""
    one = {"step": step(10.0), "copying": turn(4.0)}
    found = break_down([one], Place.HERE)
    environment, waking, *_ = found.parts
    assert environment.how.startswith("not known: runs elsewhere")
    assert (environment.us, waking.us) == (None, None)
    assert found.other_us == 6.0


def test_messages_that_were_not_copied_are_not_known():
    """Nor is waking, which is what is left of them."""
    found = parts_of(Place.HERE, {"step": step(10.0, 3.0)})
    assert (found["copying"], found["waking"], found["other"]) == (None, None, 7.0)


def test_parts_are_medians_each_and_the_rest_may_be_negative():
    """They need not add up; the rest says by how much, with its sign."""
    rounds = [
        {"step": step(10.0, 1.0), "copying": turn(2.0)},
        {"step": step(11.0, 6.0), "copying": turn(1.0)},
        {"step": step(30.0, 7.0), "copying": turn(9.0)},
    ]
    found = parts_of(Place.HERE, *rounds)
    assert (found["environment"], found["copying"], found["waking"]) == (6.0, 2.0, 7.0)
    assert found["other"] == pytest.approx(-4.0)
