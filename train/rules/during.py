"""Rules that speak while a model learns: about its losses, what it says or writes, and its adapter."""

from train.rules import Rule, Seen
from train.rules.before import deaf

FELL = 0.2  # by how much the loss has to have fallen, for the model to have had its chance
NOT_READ = 0.85  # share of errors: text that has nothing to do with the sound gives 0.8 to 1
NO_BETTER = 0.05  # a smaller fall of the share of errors is none
WORSE = 0.25  # a rise of the share of errors over the base's
DIVERGED = 1.5  # validation loss, times the base's
STUCK = 0.99  # of the first loss: what has not fallen below it has not been learnt
RUN_ON = 0.5  # share of probes that end by themselves, below which the model does not stop
SILENT = 0.8  # share of silence: recordings have 0.1 to 0.4
QUICK, DRAWLING = 0.6, 1.7  # times the recording's length
MUTE, WORDY = 0.3, 2.0  # letters written, times those that were said
SKIPPED, REPEATED = 0.35, 0.2  # share of words: a judge that mishears joins or parts one in ten
UNLIKE = 0.35  # likeness of voices: two strangers have 0.5 to 0.65, but Griffin-Lim takes a voice down to 0.5 too
NO_LORA = 1e-9  # a single step at a rate of 1e-5 adds a thousand times as much to a weight
NO_EFFECT = 1e-4  # share of the loss
EMA_LAGS = 1.1  # loss of the averaged weights, times that of the others
BAD_STEPS = 3


def not_reading(seen: Seen) -> str | None:
    errors, losses, first = seen.twice("probe_cer"), seen.all("loss"), seen.base("probe_cer")
    if errors is None or len(losses) < 2 or not seen.mature or deaf(seen) or _runs_on(seen):
        return None
    fall = 1 - losses[-1] / losses[0]
    better = first is not None and errors[0] < first - NO_BETTER
    if fall < FELL or errors[0] < NOT_READ or better:
        return None
    does = "does not write what it hears" if seen.settings.recognises else "is not reading the text"
    return (
        f"the loss fell {fall:.0%} but CER stayed at {errors[1]:.0%}: the model {does}. "
        "Usual cause: the tokenizer, or transcripts of other recordings; from nothing, far too few steps"
    )


def worse_than_base(seen: Seen) -> str | None:
    first, errors = seen.base("probe_cer"), seen.twice("probe_cer")
    if first is None or errors is None or errors[0] < first + WORSE:
        return None
    if not seen.mature or deaf(seen) or _runs_on(seen):
        return None
    return (
        f"CER was {first:.0%} before training and is {errors[1]:.0%} now: training takes away what the base knew. "
        "Usual cause: transcripts of other recordings, or train.learning_rate too high"
    )


def diverged(seen: Seen) -> str | None:
    first, last = seen.base("valid_loss"), seen.last("valid_loss")
    if first is None or last is None or not seen.mature or last < DIVERGED * first:
        return None
    return (
        f"validation loss rose from {first:.3f} to {last:.3f}: the model gets worse at what it has not seen. Usual "
        "cause: train.learning_rate too high, transcripts of other recordings, too many steps for so little data"
    )


def stuck(seen: Seen) -> str | None:
    valid, losses = seen.all("valid_loss"), seen.all("loss")
    if not seen.mature or len(valid) < 2 or len(losses) < 3:
        return None
    if min(valid[1:]) < STUCK * valid[0] or min(losses[1:]) < STUCK * losses[0]:
        return None
    return (
        f"neither loss has fallen (on validation {valid[0]:.3f} before, {valid[-1]:.3f} now): nothing is learnt. "
        "Usual cause: train.learning_rate too low, or an adapter that is switched off (train.lora.alpha)"
    )


def never_stops(seen: Seen) -> str | None:
    shares, before = seen.twice("probe_stopped"), seen.base("probe_stopped")
    knew = before is not None and before >= RUN_ON
    if shares is None or shares[1] >= RUN_ON or not (seen.mature or knew):
        return None
    return (
        f"{1 - shares[0]:.0%} of the probes run on until they are cut off: the model does not learn where to stop. "
        "Usual cause: the end is missing from the labels, or there is long silence at the end of the recordings "
        "(prepare.vad, prepare.edge_silence_s); else more steps"
    )


def silent(seen: Seen) -> str | None:
    shares = seen.twice("probe_silence")
    if shares is None or shares[0] < SILENT or not seen.mature:
        return None
    return (
        f"{shares[0]:.0%} of what the model says is silence. Usual cause: long pauses in the recordings "
        "(prepare.vad), or a level far below the base's (prepare.loudness_lufs)"
    )


def speaking_speed(seen: Seen) -> str | None:
    times = seen.twice("probe_length_ratio")
    if times is None or seen.settings.recognises or not seen.mature or _runs_on(seen):
        return None
    if times[1] >= QUICK and times[0] <= DRAWLING:
        return None
    last = seen.learnt("probe_length_ratio")[-1]
    how = f"{1 / max(last, 0.01):.1f} times as fast" if last < 1 else f"{last:.1f} times as slowly"
    return (
        f"the model speaks {how} as the recordings. Usual cause: a wrong sampling rate or frame length, recordings "
        "at a changed speed, or transcripts with words that nobody says"
    )


def writes_too_little_or_much(seen: Seen) -> str | None:
    times = seen.twice("probe_length_ratio")
    if times is None or not seen.settings.recognises or not seen.mature or _runs_on(seen):
        return None
    if times[1] >= MUTE and times[0] <= WORDY:
        return None
    last = seen.learnt("probe_length_ratio")[-1]
    much = "hardly anything" if last < 1 else "far more than was said"
    return (
        f"the model writes {much} ({last:.1f} letters for each of the transcript). Usual cause: transcripts of other "
        "recordings; of a CTC model that starts from nothing, too few steps"
    )


def skips_words(seen: Seen) -> str | None:
    shares = seen.twice("probe_skipped")
    if shares is None or shares[0] < SKIPPED or not seen.mature or _not_understood(seen):
        return None
    return (
        f"{shares[0]:.0%} of the words are left out. Usual cause: transcripts with words that are not in the "
        "recordings (prepare.align rejects those), or recordings that are cut off at an end"
    )


def repeats_words(seen: Seen) -> str | None:
    shares = seen.twice("probe_repeated")
    if shares is None or shares[0] < REPEATED or not seen.mature or _not_understood(seen):
        return None
    return (
        f"words come twice ({shares[0]:.0%} of the text's). Usual cause: an attention that has not settled, so more "
        "steps; or recordings whose transcripts lack words (prepare.align rejects those)"
    )


def another_voice(seen: Seen) -> str | None:
    likeness = seen.twice("probe_voice")
    if likeness is None or likeness[1] >= UNLIKE or not seen.mature:
        return None
    return (
        f"the voice is not the speaker's (likeness {likeness[1]:.2f}; two strangers have 0.5). Usual cause: several "
        "people under one speaker (prepare.voices), too few layers in train.lora.targets, or too few steps"
    )


def adapter_without_effect(seen: Seen) -> str | None:
    size, effect = seen.learnt("probe_lora"), seen.learnt("probe_adapter")
    if size and size[-1] < NO_LORA:
        return (
            "LoRA adds nothing to the base: its scale or one of its factors is zero. "
            "Usual cause: train.learning_rate or train.lora.alpha at nothing, or an adapter that is switched off"
        )
    if effect and effect[-1] < NO_EFFECT and seen.mature:
        return (
            f"the adapter has no effect: without it the loss differs by {effect[-1]:.4%}. "
            "Usual cause: train.learning_rate or train.lora.alpha too low, or train.lora.targets that hardly count"
        )
    return None


def average_lags(seen: Seen) -> str | None:
    raw, averaged = seen.last("valid_loss"), seen.last("valid_loss_ema")
    if raw is None or averaged is None or not seen.mature or averaged < EMA_LAGS * raw:
        return None
    return (
        f"the moving average of the weights is worse than the weights ({averaged:.3f} against {raw:.3f}): it looks "
        f"too far back. Lower train.ema ({seen.settings.ema}), which remembers some 1 / (1 - ema) steps"
    )


def steps_left_out(seen: Seen) -> str | None:
    count = seen.last("steps_left_out")
    if count is None or count < BAD_STEPS:
        return None
    return (
        f"{count:.0f} steps were left out, their loss being no number. Usual cause: train.learning_rate too high, "
        "or precision: fp16 (take bf16)"
    )


def _runs_on(seen: Seen) -> bool:
    share = seen.last("probe_stopped")
    return share is not None and share < RUN_ON


def _not_understood(seen: Seen) -> bool:
    """Whether so little is understood that words cannot be told apart."""
    return (seen.last("probe_cer") or 0.0) >= NOT_READ or deaf(seen)


RULES: tuple[Rule, ...] = (
    *(not_reading, worse_than_base, diverged, stuck, never_stops, silent, speaking_speed),
    *(writes_too_little_or_much, skips_words, repeats_words, another_voice),
    *(adapter_without_effect, average_lags, steps_left_out),
)
