"""Rules that speak before the first step: about the texts, the recordings, and whether they belong together."""

from train.rules import Rule, Seen

UNKNOWN = 0.01  # share of letters: a rare sign may be missing, an alphabet may not
SLOW, FAST = 3.0, 15.0  # letters a second, silence included: the medians of read speech here are 6 to 9
UNRELATED = 0.4  # correlation of letters and seconds: 0.75 in Common Voice; 20 shuffled clips reach 0.38 (1 in 20)
DEAF = 0.7  # share of errors of a recogniser on recordings, from which on it is no judge
OTHER_SPEED = 0.25  # fewer errors at another speed by so much, as a share of all letters
ELSEWHERE = 0.4  # share of clips; with three or more probes that is two at least
LEFT_OUT = 0.1  # share of utterances that the family cannot take


def unknown_letters(seen: Seen) -> str | None:
    share = seen.last("check_unknown_letters")
    if share is None or share <= UNKNOWN:
        return None
    return (
        f"{share:.0%} of the letters are unknown to the tokenizer: the model cannot tell them apart. "
        "Set train.lora.new_tokens: true, or write the text in a script that the base knows (prepare.text)"
    )


def speaking_rate(seen: Seen) -> str | None:
    rate = seen.last("check_letters_per_s")
    if rate is None or SLOW <= rate <= FAST:
        return None
    way = "fast" if rate > FAST else "slow"
    return (
        f"the recordings have {rate:.1f} letters a second, too {way} for speech ({SLOW:g} to {FAST:g}). Usual cause: "
        "a wrong sampling rate in the files, a changed speed, or transcripts of other recordings; listen to a few"
    )


def shuffled(seen: Seen) -> str | None:
    correlation = seen.last("check_length_correlation")
    if correlation is None or correlation >= UNRELATED:
        return None
    return (
        f"long transcripts do not go with long recordings (correlation {correlation:.2f}; 0.7 and more is usual). "
        "Usual cause: transcripts in another order than the files; listen to a few with their text"
    )


def sampling_rate(seen: Seen) -> str | None:
    now, best, speed = (seen.last(f"check_recordings_{name}") for name in ("cer", "best_cer", "best_speed"))
    if now is None or best is None or speed is None or now - best < OTHER_SPEED:
        return None
    return (
        f"a recogniser makes {now:.0%} errors on the recordings as they are, and {best:.0%} when they are played "
        f"{speed:.2f} times as fast. Usual cause: files whose header names a wrong sampling rate, or a changed speed"
    )


def other_transcripts(seen: Seen) -> str | None:
    share = seen.last("check_recordings_elsewhere")
    if share is None or share < ELSEWHERE:
        return None
    return (
        f"in {share:.0%} of the recordings that were tried, the transcript of another one is heard. "
        "Usual cause: transcripts in another order than the files; listen to a few with their text"
    )


def deaf_judge(seen: Seen) -> str | None:
    if not deaf(seen) or sampling_rate(seen) or other_transcripts(seen):
        return None
    return (
        f"the recogniser that judges makes {seen.last('check_recordings_cer'):.0%} errors on the recordings "
        "themselves: what it says of the model means little. Name one that knows the language in "
        "evaluate.recogniser; if this one does, the transcripts are not those of the recordings"
    )


def left_out(seen: Seen) -> str | None:
    share = seen.last("check_left_out")
    if share is None or share <= LEFT_OUT:
        return None
    return (
        f"{share:.0%} of the utterances cannot be learnt from (skipped.csv gives each its reason). Usual cause: "
        "transcripts that do not belong to their recordings, letters that the aligner lacks, clips that are too long"
    )


def deaf(seen: Seen) -> bool:
    """Whether the judge of a generator understands not even recordings."""
    share = seen.last("check_recordings_cer")
    return not seen.settings.recognises and share is not None and share >= DEAF


RULES: tuple[Rule, ...] = (
    unknown_letters,
    speaking_rate,
    shuffled,
    sampling_rate,
    other_transcripts,
    deaf_judge,
    left_out,
)
