"""Tamazight (`zgh`, `shi`, `tzm`, `rif`, `kab`): one written form in Tifinagh, Latin or Arabic script."""

from prepare.text.rules import Rule, rules


def tifinagh() -> tuple[Rule, ...]:
    """The rules for Tifinagh, in order."""
    return rules("characters", "foreign", "tifinagh_letters", "signs", "tifinagh", "ends")


def latin() -> tuple[Rule, ...]:
    """The rules for Latin script, in order."""
    return rules("characters", "foreign", "tamazight_latin_letters", "signs", "tamazight_latin", "ends")


def arabic() -> tuple[Rule, ...]:
    """The rules for Arabic script, in order: the letters are those of Darija, with ڮ, ژ and others kept."""
    return rules("characters", "foreign", "arabic", "signs", "darija_arabic", "ends")
