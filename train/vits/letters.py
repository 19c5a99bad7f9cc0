"""Where a letter that a base model lacks begins: at a letter it has, that sounds alike."""

from collections.abc import Mapping

from prepare.dataset import to_latin

# What a letter may be called in the spellings that published models were trained on, the nearest first.
_ALIKE: Mapping[str, str] = {
    **{"ɣ": "ġγgغ", "c": "šشs", "x": "ḫخk", "ɛ": "εʕعa", "e": "əa", "č": "ĉcš", "ǧ": "ğjg", "ʷ": "wu", "o": "uو"},
    **{"ḍ": "dض", "ḥ": "hح", "ṛ": "rر", "ṣ": "sص", "ṭ": "tط", "ẓ": "zظ", "ḇ": "bv", "ḏ": "dذ", "ḡ": "g", "ḵ": "k"},
    **{"ṯ": "tث", "v": "fڤ", "p": "bپ", "a": "ا", "b": "ب", "d": "د", "f": "ف", "g": "گڭك", "h": "ه", "i": "ي"},
    **{"j": "žج", "k": "ك", "l": "ل", "m": "م", "n": "ن", "q": "ق", "r": "ر", "s": "س", "t": "ت", "u": "و"},
    **{"w": "و", "y": "ي", "z": "ز", "3": "ɛεʕ", "5": "xḫ", "7": "ḥh", "9": "q"},
    **{"ڭ": "گݣكق", "ݣ": "گڭكق", "گ": "ڭݣكق", "ڮ": "ڭك", "ڤ": "ۋف", "پ": "ب", "چ": "شج", "ژ": "جز", "ڞ": "ض"},
    **{"آ": "ا", "أ": "ا", "إ": "ا", "ٱ": "ا", "ى": "يا", "ة": "ه", "ؤ": "و", "ئ": "ي", "ء": "ا"},
}


def alike(letter: str, known: Mapping[str, int]) -> str | None:
    """The letter of `known` that sounds most like one it lacks; None where there is none."""
    latin = letter if letter in "⟨⟩" else to_latin(letter).strip("⟨⟩")  # Tifinagh; any other letter stays
    return next((near for near in latin + _ALIKE.get(latin, "") if near in known), None)
