"""What listeners are told and asked: word for word, as the report has to give it, and what of it can be recorded."""

from evaluate.listen.trials import question_of
from evaluate.listen.visit import PAGES
from recipes.schema import Interface, Listen
from web.page import strings
from web.places import places

VARIETIES = {"ary": "darija", "zgh": "tamazight"}  # that listeners may speak: language of web/places.yaml → its name
DEVICES = ("headphones", "earphones", "phone", "computer", "other")

_SCALES = {
    "acr": ("scale5", "scale4", "scale3", "scale2", "scale1"),
    "cmos": ("better3", "better2", "better1", "better0"),
    "preference": ("clip", "no_difference"),
    "abx": ("clip",),
}


def recordings(asked: Listen) -> list[str]:
    """What can be recorded for the pages of a test, by name: `spoken/LANGUAGE/NAME.ogg`."""
    answers = {
        "acr": [f"scale{n}" for n in range(5, 0, -1)],
        "cmos": [*(f"better{n}_{it}" for it in "BA" for n in (3, 2, 1)), "better0"],
        "preference": ["clip_A", "clip_B", "no_difference"],
        "abx": ["clip_A", "clip_B"],
    }.get(asked.method, [])
    varieties = [code for base in VARIETIES for code in places()["dialects"][base]]
    found = ["name", *(["enter"] if asked.invited else []), "resume", "withdraw", "notice", "agree", "about"]
    found += [
        "varieties",
        *(f"variety_{code}" for code in varieties),
        "device",
        *(f"device_{one}" for one in DEVICES),
    ]
    found += ["ready", f"question_{asked.method}", *answers, "knows", "pause", "thanks"]
    found += ["question_comprehension"] if asked.comprehension else []
    found += ["question_headphones", "tone1", "tone2", "tone3"] if asked.headphones else []
    if asked.guess:
        found += ["question_guess_person", "question_guess_taught", "clip_A", "clip_B", "cannot_tell"]
    return list(dict.fromkeys(found))


def instructions(asked: Listen, language: Interface) -> list[str]:
    """The sentences of the pages: what the test is, how it goes, what a trial asks, and what may be answered."""
    t = strings(language, PAGES)
    ready = ["ready_place", "ready_play", *(["ready_volume"] if asked.training else []), "ready_free"]
    answers = [t[key] for key in _SCALES.get(asked.method, _SCALES["acr"])]
    if asked.method in ("preference", "abx"):
        answers = [f"{t['clip']} A", f"{t['clip']} B", *answers[1:]]
    question = [part for part in question_of(asked.method, t) if part]
    whole = [t["notice_what"].format(minutes=f"{asked.minutes:g}"), *(t[key] for key in ready)]
    return [*whole, *question, " / ".join(answers).replace("{it}", "A")]
