"""Which sentence is nearly another one: by edits, found without comparing each with each."""

from collections import defaultdict

from rapidfuzz.distance import Levenshtein


class Near:
    """Sentences that others must not resemble. Two are near when 1 − edits / letters of the longer ≥ `similar`.

    Of two strings at most d edits apart, one cut into d + 1 pieces has a piece that stands unchanged in the
    other, at most d places off (the pigeonhole principle; Li et al., Pass-Join, PVLDB 5(3), 2011). Sentences
    that share such a piece are compared, and no others need to be: nothing near is missed.
    """

    def __init__(self, similar: float | None) -> None:
        """`similar`: 0.6 to 1; None: only the same sentence is near."""
        self._similar = similar
        self._whole = set[str]()
        self._pieces: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._sizes = set[int]()

    def add(self, sentence: str) -> None:
        """Let no other sentence resemble this one."""
        if sentence in self._whole:
            return
        self._whole.add(sentence)
        if self._similar is None:
            return
        count, start = self._edits(round(len(sentence) / self._similar)) + 1, 0
        for number in range(count):
            end = (number + 1) * len(sentence) // count
            if end > start:
                self._pieces[sentence[start:end]].append((start, sentence))
                self._sizes.add(end - start)
            start = end

    def find(self, sentence: str) -> str | None:
        """A sentence that was added and that this one is, or is near; None when there is none."""
        if sentence in self._whole:
            return sentence
        if self._similar is None:
            return None
        looked = set[str]()
        for size in self._sizes:
            for start in range(len(sentence) - size + 1):
                for place, other in self._pieces.get(sentence[start : start + size], ()):
                    if other in looked:
                        continue
                    most = self._edits(max(len(sentence), len(other)))
                    if abs(place - start) > most or abs(len(sentence) - len(other)) > most:
                        continue
                    looked.add(other)
                    if Levenshtein.distance(sentence, other, score_cutoff=most) <= most:
                        return other
        return None

    def _edits(self, letters: int) -> int:
        """How many edits two sentences may be apart, the longer having so many letters."""
        return int((1 - (self._similar or 1)) * letters + 1e-9)
