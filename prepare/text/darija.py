"""Darija (Moroccan Arabic, `ary`): one written form for text in Arabic and in Latin script.

What is spelled differently because it is said differently, or by habit (ة and ه, أ and ا), is left
alone: there is no standard to bring it to. Only characters that stand for the same letter are united.
"""

from prepare.text.rules import FIRST, LAST, THEN, Rule, kept_letters, letter_rule

_VARIANTS = {
    "ک": "ك", "ڪ": "ك", "ی": "ي", "ۍ": "ي", "ې": "ي", "ے": "ي", "ہ": "ه", "ھ": "ه", "ە": "ه",
    "ۀ": "ه", "ۂ": "ه", "ۃ": "ة", "ۆ": "و", "ۇ": "و", "ۈ": "و", "ۋ": "و", "ٱ": "ا", "ڧ": "ق", "ڢ": "ف",
}  # fmt: skip

ARABIC: tuple[Rule, ...] = (
    *FIRST,
    Rule("no tatweel", "ـ+", "", (("بـــزاف", "بزاف"),)),
    Rule(
        "no vowel signs (harakat, dagger alef, Quranic marks)",
        "[\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0898-\u089f\u08ca-\u08ff]",
        "",
        (("مُغْرِبِيّ", "مغربي"), ("هٰد", "هد")),
    ),
    letter_rule("one letter for its Persian, Urdu and Maghribi forms", _VARIANTS, ("کی", "كي"), ("ڧلبی", "قلبي")),
    letter_rule("ڭ for /g/", dict.fromkeys("گݣڨ", "ڭ"), ("گلس", "ڭلس"), ("ݣال", "ڭال"), ("ڨاع", "ڭاع")),
    letter_rule("ڤ for /v/", {"ڥ": "ڤ"}, ("ڥيلا", "ڤيلا")),
    *THEN,
    kept_letters("Arab"),
    *LAST,
)

LATIN: tuple[Rule, ...] = (*FIRST, *THEN, kept_letters("Latn"), *LAST)
