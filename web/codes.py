"""Codes that people keep: long enough that nobody guesses one, and typed on any phone's keypad."""

import secrets

_DIGITS = 20  # 66 bits; groups of four, like the recharge cards everybody knows


def new_code() -> str:
    """A code nobody can guess, as digits."""
    return f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"


def typed(text: str) -> str:
    """A code as it was typed, in whichever digits of Unicode and with whatever between them."""
    return "".join(str(int(letter)) for letter in text[:200] if letter.isdecimal())


def shown(code: str) -> str:
    """A code in groups of four."""
    return " ".join(code[at : at + 4] for at in range(0, len(code), 4))
