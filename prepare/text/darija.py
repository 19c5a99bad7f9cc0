"""Darija (Moroccan Arabic, `ary`): one written form for text in Arabic and in Latin script."""

from prepare.text.rules import Rule, rules


def arabic() -> tuple[Rule, ...]:
    """The rules for Arabic script, in order."""
    return rules("characters", "foreign", "arabic", "signs", "darija_arabic", "ends")


def latin() -> tuple[Rule, ...]:
    """The rules for Arabizi, in order."""
    return rules("characters", "foreign", "signs", "darija_latin", "ends")
