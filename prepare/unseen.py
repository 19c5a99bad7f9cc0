"""The list of sentences that nothing is trained on, so that they can be evaluated with: `prepare.split.unseen`."""

from collections.abc import Iterable

from prepare.text import normalise
from prepare.text.scripts import script_of, share
from recipes.records import Language
from recipes.schema import Recipe, UserError

_OF_SCRIPT = 0.5  # of a line's letters, for it to be a sentence of a language


def sentences(recipe: Recipe, languages: Iterable[Language]) -> set[str]:
    """The sentences of the list, normalised for each of the languages that is written in their script.

    Raises UserError when the file cannot be read or holds none.
    """
    path = recipe.prepare.split.unseen
    if path is None:
        return set()
    try:
        lines = list(filter(str.strip, path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: {cause} (prepare.split.unseen)") from None
    if not lines:
        raise UserError(f"{path}: no sentence in it, one a line is needed (prepare.split.unseen)")
    spoken = sorted(set(languages))
    found = {normalise(line, tag) for line in lines for tag in spoken if share(line, script_of(tag)) > _OF_SCRIPT}
    return found - {""}
