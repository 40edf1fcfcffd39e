"""Channels for a vector: found without waiting, each at most once."""

import pytest

import rlay
from rlay.envs.candidates import candidates_for, group_of
from tests.support.threads import serving
from tests.support.vectors import Lane
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")


def picked(candidates):
    """Pick all that there is; return it."""
    found = []
    while (candidate := candidates.pick()) is not None:
        found.append(candidate)
    return found


def let_go(found):
    """Leave all channels."""
    for candidate in found:
        candidate.let_go()


def test_group_is_the_name_and_its_numbers_in_order():
    """Other names are not touched, nor is anything picked twice."""
    with (
        serving(Lane, name="n.10", sessions=None),
        serving(Lane, name="n.9", sessions=None),
        serving(Lane, name="n", sessions=None),
        serving(Lane, name="n.x", sessions=None),
        serving(Lane, name="nn.1", sessions=None),
    ):
        candidates = candidates_for("n", None)
        before = candidates.exhausted
        found = picked(candidates)
        assert [each.client.name for each in found] == ["n", "n.9", "n.10"]
        assert (before, candidates.exhausted) == (False, True)
        let_go(found)


def test_channel_that_is_taken_is_passed_over_and_named():
    """Who holds it is told while more is waited for."""
    with serving(Lane, name="n.0"), serving(Lane, name="n.1", sessions=None):
        holder = rlay.ClientEnv("n.0")
        candidates = candidates_for("n", None)
        found = picked(candidates)
        assert [each.client.name for each in found] == ["n.1"]
        assert "n.0" in candidates.problem
        let_go(found)
        holder.close()


def test_channel_that_was_refused_is_tried_after_all_others():
    """Behind a bridge it may look free, for ever, while another one is."""
    with (
        serving(Lane, name="n.0", sessions=None),
        serving(Lane, name="n.1", sessions=None),
    ):
        group = group_of("n", None)
        for name in ("n.0", "n.1", "n.0"):
            one = group.pick()
            assert one is not None
            assert one.client.name == name
            one.let_go()
            group.refused(one, rlay.ChannelBusy("taken elsewhere"))
            wait_until(lambda: not group._busy.rests("n.0"))
        assert "taken elsewhere" in group.problem


def test_channel_that_was_put_back_is_found_again():
    """After it was let go of."""
    with serving(Lane, name="n.0", sessions=None):
        for candidates in (candidates_for("n", None), candidates_for(["n.0"], None)):
            (one,) = picked(candidates)
            one.let_go()
            assert picked(candidates) == []
            candidates.put_back(one)
            (again,) = picked(candidates)
            assert again.client.name == "n.0"
            again.let_go()


def test_lost_channel_is_left_to_who_lost_it():
    """Two lanes that wait: each gets its own back, and either any other one."""
    with (
        serving(Lane, name="n.0", sessions=None),
        serving(Lane, name="n.1", sessions=None),
    ):
        group = candidates_for("n", None)
        zero, one = picked(group)
        let_go([zero, one])
        for_zero, for_one = group.replacing(zero), group.replacing(one)
        (first,) = picked(for_one)
        assert first.client.name == "n.1"
        assert picked(for_one) == []
        (second,) = picked(for_zero)
        assert second.client.name == "n.0"
        for_zero.close()
        for_one.close()
        let_go([first, second])


def test_list_is_picked_whole_before_it_is_exhausted():
    """None of a list may be missing; the missing are named."""
    with serving(Lane, name="b", sessions=None):
        candidates = candidates_for(["a", "b"], None)
        (found,) = picked(candidates)
        assert (found.name, found.place) == ("b", 1)
        assert not candidates.exhausted
        assert "missing: a" in candidates.problem
        found.let_go()
        candidates.close()


def test_nothing_there_is_told_with_the_remedy():
    """How to serve the channels that are missing."""
    candidates = candidates_for("n", None)
    assert candidates.pick() is None
    assert "rlay serve ENV-ID --name n" in candidates.problem
