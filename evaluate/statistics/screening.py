"""Which listeners of a MUSHRA test are not counted: the post-screening of ITU-R BS.1534-3, section 4.1.2.

A listener goes who rates the hidden reference below 90 in more than 15 % of the items, or the mid anchor above 90 in
more than 15 % of them. Items whose mid anchor more than a quarter of the listeners rate above 90 are not held
against anybody: there the anchor is no worse to hear.
"""

from collections import defaultdict
from collections.abc import Iterable

from evaluate.ratings import Score

_GOOD, _MOST, _MANY = 90, 0.15, 0.25


def post_screening(scores: Iterable[Score], reference: str, anchor: str | None) -> dict[str, str]:
    """Listener → why they are not counted. `reference`, `anchor`: system ids of hidden reference and mid anchor."""
    of_reference: dict[str, list[bool]] = defaultdict(list)
    of_anchor: dict[str, dict[str, bool]] = defaultdict(dict)  # item → listener → too high
    for one in scores:
        if one.system == reference:
            of_reference[one.listener].append(one.score < _GOOD)
        elif one.system == anchor:
            of_anchor[one.item][one.listener] = one.score > _GOOD
    found = {
        who: f"hidden reference below {_GOOD} in {sum(low)} of {len(low)} items"
        for who, low in sorted(of_reference.items())
        if sum(low) > _MOST * len(low)
    }
    fair = [high for high in of_anchor.values() if sum(high.values()) <= _MANY * len(high)]
    for who in sorted({who for high in fair for who in high} - set(found)):
        theirs = [high[who] for high in fair if who in high]
        if sum(theirs) > _MOST * len(theirs):
            found[who] = f"mid anchor above {_GOOD} in {sum(theirs)} of {len(theirs)} items"
    return found
