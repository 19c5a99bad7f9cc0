"""Long recordings as utterances: every word in one, none in two, and no needlessly short ones."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.segments import stretches
from recipes.records import Word


def words(*lengths_and_pauses: tuple[float, float]) -> list[Word]:
    """Words of a length, each followed by a pause."""
    found, at_s = [], 0.5
    for length_s, pause_s in lengths_and_pauses:
        found.append(Word(text="ⴰ", start_s=round(at_s, 3), end_s=round(at_s + length_s, 3), score=1.0))
        at_s += length_s + pause_s
    return found


speech = st.lists(st.tuples(st.floats(0.05, 1.5), st.floats(0, 2)), min_size=1, max_size=30).map(lambda p: words(*p))


@given(speech, st.floats(1, 10), st.floats(0, 0.3), st.sampled_from([None, 0.5, 1.0, 3.0]))
def test_stretches_cover_the_speech_and_never_overlap(
    spoken: list[Word], most_s: float, pad_s: float, join_below_s: float | None
) -> None:
    found = stretches(spoken, 0.2, most_s, pad_s, join_below_s)
    assert [found[0].first, found[-1].last] == [0, len(spoken)]
    assert all(one.last == other.first for one, other in pairwise(found))
    assert all(one.end_s <= other.begin_s + 1e-9 for one, other in pairwise(found))
    for one in found:
        assert one.begin_s <= spoken[one.first].start_s and spoken[one.last - 1].end_s <= one.end_s


@given(speech, st.floats(1, 10))
def test_none_is_too_long_that_could_be_cut(spoken: list[Word], most_s: float) -> None:
    for one in stretches(spoken, 0.2, most_s, 0.0, 1.0):
        inside = spoken[one.first : one.last]
        pauses = [after.start_s - before.end_s for before, after in pairwise(inside)]
        assert inside[-1].end_s - inside[0].start_s <= most_s or max(pauses, default=0) < 0.2


def test_the_longest_pause_is_cut_first() -> None:
    spoken = words((1, 0.3), (1, 0.8), (1, 0.3), (1, 0))
    assert [(one.first, one.last) for one in stretches(spoken, 0.2, 3, 0.1)] == [(0, 2), (2, 4)]


def test_a_short_stretch_joins_the_neighbour_across_the_shorter_pause() -> None:
    spoken = words((2, 0.9), (0.3, 0.5), (2, 0))
    assert [(one.first, one.last) for one in stretches(spoken, 0.2, 3.5, 0.1)] == [(0, 1), (1, 3)]
    spoken = words((2, 0.9), (0.3, 1.0), (2, 0))
    apart = stretches(spoken, 0.2, 2.4, 0.1, join_below_s=1.0)
    assert [(one.first, one.last) for one in apart] == [(0, 1), (1, 2), (2, 3)]  # together they would be too long
    spoken = words((3, 0.9), (0.3, 1.0), (0.4, 1.5), (3, 0))
    alone = stretches(spoken, 0.2, 4.0, 0.1)
    assert [(one.first, one.last) for one in alone] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    joined = stretches(spoken, 0.2, 4.0, 0.1, join_below_s=1.0)
    assert [(one.first, one.last) for one in joined] == [(0, 1), (1, 3), (3, 4)]
    joined = stretches(words((3, 0.9), (0.3, 1.0), (3, 0)), 0.2, 4.4, 0.0, join_below_s=1.0)
    assert [(one.first, one.last) for one in joined] == [(0, 2), (2, 3)]


@pytest.mark.parametrize("pad_s", [0.1, 0.5])
def test_silence_between_two_is_shared(pad_s: float) -> None:
    one, other = stretches(words((1, 0.4), (1, 0)), 0.2, 1.5, pad_s)
    assert (one.end_s, other.begin_s) == pytest.approx((1.5 + min(pad_s, 0.2), 1.9 - min(pad_s, 0.2)))
