"""Tamazight (`zgh`, `shi`, `tzm`, `rif`, `kab`): one written form in Tifinagh, Latin or Arabic script.

Tifinagh is the alphabet of IRCAM (Unicode block U+2D30 to U+2D7F), with the letters that other communities
write beside it. The labialisation mark ⵯ is a letter: ⴰⴳⵯⵍⵉⴼ and ⴰⴳⵍⵉⴼ are two words.
"""

from prepare.text.rules import FIRST, LAST, THEN, Rule, kept_letters, letter_rule

TIFINAGH: tuple[Rule, ...] = (
    *FIRST,
    Rule("ⵯ for a raised w", "(?<=[\u2d30-\u2d67])[ʷ°]", "ⵯ", (("ⴰⵙⴳⴳʷⴰⵙ", "ⴰⵙⴳⴳⵯⴰⵙ"), ("ⴽ°", "ⴽⵯ"))),
    Rule("no consonant joiner", "\u2d7f", "", (("ⵏ\u2d7fⴾ", "ⵏⴾ"),)),
    *THEN,
    kept_letters("Tfng"),
    *LAST,
)

LATIN: tuple[Rule, ...] = (
    *FIRST,
    letter_rule(
        "ɛ and ɣ, where Greek and Cyrillic lookalikes are typed",
        {"ε": "ɛ", "Σ": "ɛ", "ԑ": "ɛ", "Ԑ": "ɛ", "γ": "ɣ", "Γ": "ɣ"},
        ("aεeggal", "aɛeggal"),
        ("Σemmi", "ɛemmi"),
        ("aγrum", "aɣrum"),
    ),
    Rule("ʷ for a degree sign", "(?<=[bgkqxɣBGKQXƔ])°", "ʷ", (("ag°ni", "agʷni"), ("5°", "5°"))),
    *THEN,
    kept_letters("Latn"),
    *LAST,
)
