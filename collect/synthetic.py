"""Make practice speech with espeak-ng from the recipe's texts: `python -m collect.synthetic RECIPE`.

For trying the workbench where no recordings exist yet. The sounds come from a letter-to-phoneme
table of ours, read by espeak-ng's Arabic voice: Darija with its dropped vowels, Tamazight by way of
the same phonemes. Nobody speaks like this; every speaker is marked synthetic.
"""

import csv
import hashlib
import io
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
import soxr
from rich.progress import track

from recipes.command import next_command, run
from recipes.records import PURPOSES
from recipes.schema import Recipe, Synthetic, UserError

RATE_HZ = 16_000

# espeak-ng's phoneme names (voice `ar`).
_ARABIC = {
    "ب": "b", "ت": "t", "ث": "T", "ج": "dZ", "ح": "H", "خ": "X", "د": "d", "ذ": "D", "ر": "R",
    "ز": "z", "س": "s", "ش": "S", "ص": "s[", "ض": "dH", "ط": "t[", "ظ": "Z", "ع": "A", "غ": "Q",
    "ف": "f", "ق": "q", "ك": "k", "ل": "l", "م": "m", "ن": "n", "ه": "h", "ڭ": "g", "ڤ": "v",
    "پ": "p", "ء": "?", "أ": "?a", "إ": "?i", "آ": "?a:", "ؤ": "?u", "ئ": "?i", "ا": "a:", "ى": "a:",
    "ة": "a", "و": "w", "ي": "j",
}  # fmt: skip
_TIFINAGH = {
    "ⴰ": "a", "ⴱ": "b", "ⴳ": "g", "ⴷ": "d", "ⴹ": "dH", "ⴻ": "@", "ⴼ": "f", "ⴽ": "k", "ⵀ": "h",
    "ⵃ": "H", "ⵄ": "A", "ⵅ": "X", "ⵇ": "q", "ⵉ": "i", "ⵊ": "dZ", "ⵍ": "l", "ⵎ": "m", "ⵏ": "n",
    "ⵓ": "u", "ⵔ": "R", "ⵕ": "r", "ⵖ": "Q", "ⵙ": "s", "ⵚ": "s[", "ⵛ": "S", "ⵜ": "t", "ⵟ": "t[",
    "ⵡ": "w", "ⵢ": "j", "ⵣ": "z", "ⵥ": "Z", "ⵯ": "w",
}  # fmt: skip
_VOWEL = re.compile(r"[aiu@]:?$")


def main(recipe: Recipe) -> None:
    settings = recipe.collect.synthetic
    if settings is None:
        raise UserError("the recipe has no section collect.synthetic")
    folder = recipe.collect.source
    lines = list(readings(settings, recipe.seed))
    speak_all(settings, lines, folder / "clips")
    write_table(folder / "metadata.csv", ["file", "text", "speaker", "language"], lines)
    consents = [consent(speaker) for speaker in settings.voices]
    write_table(folder / "consents.csv", list(consents[0]), [tuple(row.values()) for row in consents])
    print(f"{len(lines)} clips by {len(settings.voices)} synthetic speakers in {folder}")
    print(next_command("collect.ingest"))


def readings(settings: Synthetic, seed: int) -> Iterator[tuple[str, str, str, str]]:
    """Who reads what: rows of file, text, speaker, language. The same for the same texts and seed."""
    for language, path in settings.texts.items():
        if not path.is_file():
            raise UserError(f"{path}: no such file (collect.synthetic.texts.{language})")
        sentences = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        sentences += shuffled(sentences, settings.shuffled, seed)
        speakers = [s for s in settings.voices if language in settings.languages.get(s, [language])]
        for speaker in speakers:
            chosen = sorted(sentences, key=lambda text: _hash(f"{seed} {speaker} {text}"))
            for text in chosen[: settings.sentences_per_speaker]:
                yield (
                    f"clips/{_hash(f'{speaker} {settings.voices[speaker]} {text}')[:20]}.flac",
                    text,
                    speaker,
                    language,
                )


def shuffled(sentences: list[str], count: int, seed: int) -> list[str]:
    """`count` sentences of 3 to 8 words drawn from all `sentences`: known words in unknown company."""
    words = [word for text in sentences for word in re.findall(r"\w+", text)]
    draw = random.Random(seed)
    return [" ".join(draw.sample(words, draw.randint(3, 8))) for _ in range(count)]


def phonemes(word: str) -> str:
    """A word in Arabic or Tifinagh letters as espeak-ng phonemes, e.g. كتب → `kt@b`.

    Letters without a sound of their own (punctuation) are passed over. و and ي are vowels between
    consonants and at the end. Consonants that would stand alone before another get a schwa, from the
    right, as Moroccan Arabic does (Harrell, A Short Reference Grammar of Moroccan Arabic, 1962).
    """
    sounds = [_ARABIC.get(letter) or _TIFINAGH.get(letter) or "" for letter in word]
    sounds = [sound for sound in sounds if sound]
    if any(letter in _ARABIC for letter in word):
        sounds = [_glide(sounds, i) for i in range(len(sounds))]
    spoken: list[str] = []
    i = len(sounds) - 1
    while i >= 0:
        spoken.insert(0, sounds[i])
        closes = i + 1 == len(sounds) or not _is_vowel(sounds[i + 1])
        if not _is_vowel(sounds[i]) and closes and i > 0 and not _is_vowel(sounds[i - 1]):
            spoken[:0] = [sounds[i - 1], "@"]
            i -= 1
        i -= 1
    if len(sounds) == 1 and not _is_vowel(sounds[0]):
        spoken.append("@")
    return "".join(spoken)


def _is_vowel(sound: str) -> bool:
    return bool(_VOWEL.search(sound))


def _glide(sounds: list[str], i: int) -> str:
    """و and ي: a long vowel after a consonant unless a vowel follows."""
    follows_vowel = i + 1 < len(sounds) and _is_vowel(sounds[i + 1])
    if sounds[i] not in ("w", "j") or i == 0 or _is_vowel(sounds[i - 1]) or follows_vowel:
        return sounds[i]
    return {"w": "u:", "j": "i:"}[sounds[i]]


def speak_all(settings: Synthetic, lines: list[tuple[str, str, str, str]], folder: Path) -> None:
    """Speak every line that has no file yet."""
    if not shutil.which("espeak-ng"):
        raise UserError("espeak-ng is not installed: apt install espeak-ng")
    folder.mkdir(parents=True, exist_ok=True)
    todo = [line for line in lines if not (folder.parent / line[0]).exists()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(speak, text, settings.voices[who], folder.parent / file) for file, text, who, _ in todo]
        for job in track(jobs, "speaking", disable=not jobs):
            job.result()


def speak(text: str, voice: str, path: Path) -> None:
    """Write `text` as FLAC (16 kHz, mono, 16 bit). `voice`: espeak-ng voice, then options, e.g. `ar+f2 -s 150`."""
    name, *options = voice.split()
    sounds = " ".join(f"[[{phonemes(word)}]]" for word in re.findall(r"\w+", text))
    done = subprocess.run(["espeak-ng", "-v", name, *options, "--stdout", "--", sounds], capture_output=True)
    complaint = " ".join(done.stderr.decode(errors="replace").split())
    if complaint or not done.stdout:  # an unknown voice is spoken by another one, with a complaint
        raise UserError(f"espeak-ng could not speak with voice `{voice}`: {complaint}")
    wave, rate_hz = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    part = path.with_suffix(".part")
    soundfile.write(part, soxr.resample(wave, rate_hz, RATE_HZ), RATE_HZ, "PCM_16", format="FLAC")
    os.replace(part, path)


def consent(speaker: str) -> dict[str, str]:
    """The consent row of a voice that is nobody's."""
    return {
        "speaker": speaker,
        "purposes": " ".join(PURPOSES),
        "notice": "synthetic speech by espeak-ng; no person is recorded",
        "controller": "Twiza project",
        "given_on": "2026-01-01",
        "expires_on": "",
        "by": "self",
        "how": "tick",
        "synthetic": "true",
    }


def write_table(path: Path, header: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    """A CSV file, complete or not there."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    part = path.with_suffix(".part")
    part.write_text(out.getvalue(), encoding="utf-8")
    os.replace(part, path)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    run(main, __doc__ or "")
