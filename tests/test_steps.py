"""The audio steps: known answers, laws, and the recordings that they refuse."""

from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from prepare import limits, quality, steps, voice
from prepare.active_level import active_level
from prepare.clip import Clip, Reject
from recipes.schema import Prepare, Vad
from tests.babble import babble, noise
from tests.conftest import SHARED, needs_shared
from tests.tiny import QUALITY

RECORDINGS = SHARED / "data" / "tamazight_speech" / "clips"
VAD = Vad()


def tone(hz: float, duration_s: float = 2.0, rate_hz: int = 48_000, peak: float = 1.0) -> Clip:
    time_s = np.arange(int(duration_s * rate_hz)) / rate_hz
    return Clip((peak * np.sin(2 * np.pi * hz * time_s)).astype(np.float32), rate_hz)


# ------------------------------------------------------------------ channels and rate


def test_mono_is_the_mean_of_the_channels() -> None:
    left, right = noise(1, 0.1), babble(1, silence_s=0)
    assert steps.mono(Clip(np.stack([left, right], axis=1), 16_000)).samples == pytest.approx((left + right) / 2)


def test_channels_in_opposite_phase_do_not_cancel() -> None:
    voiced = babble(1)
    assert steps.mono(Clip(np.stack([voiced, -voiced], axis=1), 16_000)).samples == pytest.approx(voiced)


def test_resampling_keeps_what_the_new_rate_can_carry_and_nothing_else() -> None:
    kept, gone = steps.resample(tone(7_000), 16_000), steps.resample(tone(9_000), 16_000)
    assert (kept.rate_hz, kept.duration_s) == (16_000, 2.0)
    middle = slice(8_000, 24_000)
    assert np.sqrt(2 * np.mean(kept.samples[middle] ** 2)) == pytest.approx(1, abs=0.001)
    assert np.abs(gone.samples[middle]).max() < 1e-5  # -100 dB


def test_what_the_new_rate_can_carry_passes_flat() -> None:
    """Up to nine tenths of the band within 0.1 dB, as soxr's VHQ promises for its pass band."""
    for hz in (50, 1_000, 4_000, 7_200):
        passed = steps.resample(tone(hz, peak=0.5), 16_000).samples[8_000:24_000]
        assert 20 * np.log10(np.sqrt(2 * np.mean(passed**2)) / 0.5) == pytest.approx(0, abs=0.1)


# ------------------------------------------------------------------ high-pass and DC


def gain_db(hz: float, corner_hz: float, rate_hz: int) -> float:
    heard = steps.high_pass(tone(hz, 4.0, rate_hz, peak=0.5), corner_hz).samples[rate_hz:-rate_hz]
    return float(20 * np.log10(np.sqrt(2 * np.mean(heard.astype(float) ** 2)) / 0.5))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("corner_hz", [20, 50, 80])
def test_a_high_pass_takes_3_db_at_its_corner(corner_hz: float, rate_hz: int) -> None:
    assert gain_db(corner_hz, corner_hz, rate_hz) == pytest.approx(-3.01, abs=0.05)
    assert gain_db(3 * corner_hz, corner_hz, rate_hz) == pytest.approx(0, abs=0.1)
    assert gain_db(corner_hz / 4, corner_hz, rate_hz) < -35


def test_an_offset_goes_and_the_rest_stays_in_its_place() -> None:
    speech = steps.high_pass(Clip(babble(2), 16_000), 50)
    lifted = steps.high_pass(replace(speech, samples=speech.samples + np.float32(0.3)), 50)
    again = steps.high_pass(speech, 50)
    assert lifted.samples == pytest.approx(again.samples, abs=2e-4)
    assert abs(float(lifted.samples.mean())) < 1e-4
    pulse = np.zeros(16_000, np.float32)
    pulse[8_000] = 0.9
    passed = steps.high_pass(Clip(pulse, 16_000), 50).samples
    assert passed.argmax() == 8_000  # no delay
    assert passed[7_500:8_000] == pytest.approx(passed[8_001:8_501][::-1], abs=1e-5)  # nor a side


@settings(max_examples=15, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(0.01, 0.4))
def test_taking_the_offset_away_twice_is_taking_it_away_once(offset: float, peak: float) -> None:
    clip = tone(440, 0.5, 16_000, peak)
    once = steps.high_pass(replace(clip, samples=(clip.samples + offset).astype(np.float32)), 50)
    middle = slice(1_600, -1_600)  # at the edges a tone that breaks off is no tone
    assert steps.high_pass(once, 50).samples[middle] == pytest.approx(once.samples[middle], abs=1e-3)
    assert abs(float(once.samples.mean())) < 2e-3


@pytest.mark.parametrize("samples", [np.full(16_000, 0.3, np.float32), tone(5, 1.0, 16_000, 0.5).samples])
def test_a_recording_of_nothing_but_an_offset_or_a_rumble_is_silent(samples: NDArray[np.float32]) -> None:
    with pytest.raises(Reject, match=r"silent: nothing in it above prepare\.high_pass_hz"):
        steps.high_pass(Clip(samples, 16_000), 80)


# ------------------------------------------------------------------ loudness and figures


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 48_000])
def test_a_full_scale_997_hz_tone_is_minus_3_lufs(rate_hz: int) -> None:
    """ITU-R BS.1770-4, annex 1: 0 dB full scale, one channel, reads -3.01 LKFS; a meter may be 0.1 off."""
    assert quality.loudness_lufs(tone(997, rate_hz=rate_hz)) == pytest.approx(-3.01, abs=0.1)


@pytest.mark.parametrize("lufs", [-23, -20])
def test_tones_of_the_calibration_read_as_they_should(lufs: int) -> None:
    """ITU-R BS.2217 and EBU Tech 3341: 997 Hz that reads -23 (-20) LKFS; one channel is 3 dB below two."""
    quiet = tone(997, 20, peak=10 ** ((lufs + 3.01) / 20))
    assert quality.loudness_lufs(quiet) == pytest.approx(lufs, abs=0.1)


def test_what_lies_ten_decibels_below_does_not_count() -> None:
    """EBU Tech 3341, case 3: 10 s at -36, 60 s at -23, 10 s at -36 read as -23."""
    levels = [(10, -36), (60, -23), (10, -36)]
    parts = [tone(1000, length_s, 16_000, 10 ** ((lufs + 3.01) / 20)).samples for length_s, lufs in levels]
    assert quality.loudness_lufs(Clip(np.concatenate(parts), 16_000)) == pytest.approx(-23, abs=0.1)


def test_a_clip_shorter_than_a_measuring_block_has_a_loudness() -> None:
    assert quality.loudness_lufs(tone(997, duration_s=0.1)) == pytest.approx(-3.01, abs=0.1)


def test_loudness_is_brought_to_the_target() -> None:
    clip = steps.set_loudness(Clip(babble(2), 16_000), -23)
    assert quality.loudness_lufs(clip) == pytest.approx(-23, abs=0.05)


def test_speech_is_brought_to_an_active_level() -> None:
    clip = steps.set_active_level(Clip(babble(2), 16_000), -26)
    assert active_level(clip.samples, 16_000).level_dbov == pytest.approx(-26, abs=0.3)
    with pytest.raises(Reject, match="silent: its active speech level"):
        steps.set_active_level(Clip(noise(1, 1e-6), 16_000), -26)


@pytest.mark.parametrize("target", [-40, -23, -15])
def test_a_level_that_is_reached_stays(target: int) -> None:
    once = steps.set_loudness(Clip(babble(1), 16_000), target)
    assert steps.set_loudness(once, target).samples == pytest.approx(once.samples, abs=1e-4)
    limited = steps.limit_peak(once)
    assert steps.limit_peak(limited).samples == pytest.approx(limited.samples, abs=1e-6)


@given(st.floats(-60, -1), st.floats(1e-3, 1.0))
def test_no_loudness_is_worth_a_clipped_peak(target_lufs: float, peak: float) -> None:
    clip = steps.set_loudness(tone(997, duration_s=0.5, rate_hz=16_000, peak=peak), target_lufs)
    assert np.abs(clip.samples).max() <= steps.PEAK + 1e-6


def test_overshoot_of_a_codec_is_turned_down() -> None:
    clip = steps.limit_peak(tone(997, peak=1.3))
    assert np.abs(clip.samples).max() == pytest.approx(steps.PEAK)
    assert steps.limit_peak(tone(997, peak=0.5)).samples == pytest.approx(tone(997, peak=0.5).samples)


@pytest.mark.parametrize("wanted_db", [5, 20, 40])
def test_noise_that_was_added_is_measured(wanted_db: int) -> None:
    speech = babble(3, silence_s=0)
    hiss = noise(4, float(np.sqrt(np.mean(speech**2))) * 10 ** (-wanted_db / 20))
    hiss[8_000:-8_000] += speech
    clip = Clip(hiss, 16_000, speech=((0.5, 3.5),))
    assert quality.snr_db(clip) == pytest.approx(wanted_db, abs=0.5)


def test_without_a_pause_the_figure_does_not_flatter() -> None:
    clip = Clip(babble(3, silence_s=0) + noise(3, 0.01), 16_000)
    truth = 10 * np.log10(np.mean(babble(3, silence_s=0) ** 2) / 0.01**2)
    assert quality.snr_db(clip) <= truth + 0.5


def test_digital_silence_is_no_noise() -> None:
    assert quality.snr_db(Clip(babble(1), 16_000, speech=((0.5, 1.5),))) == 100


def test_clipped_share_counts_full_scale() -> None:
    assert quality.clipped_share(Clip(np.array([0, 1, -1, 0.5], np.float32), 16_000)) == 0.5
    assert quality.clipped_share(Clip(np.array([[0, 1], [0.5, 0.2]], np.float32), 16_000)) == 0.25


def test_clipping_is_seen_after_the_recording_was_turned_down() -> None:
    loud = np.clip(babble(2) * 4, -1, 1) * np.float32(0.4)
    flat = float(np.mean(np.abs(loud) == np.float32(0.4)))
    assert flat > 0.001
    assert quality.clipped_share(Clip(loud, 16_000)) == pytest.approx(flat, rel=0.5)
    assert quality.clipped_share(Clip(babble(2), 16_000)) == 0
    assert quality.clipped_share(Clip(np.round(babble(2) * 127) / np.float32(127), 16_000)) < 0.001  # 8 bits


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8_000, 48_000), (16_000, 48_000), (8_000, 16_000)])
def test_a_file_that_was_blown_up_is_found(from_hz: int, to_hz: int) -> None:
    small = Clip(babble(2, rate_hz=from_hz) + noise(3, 0.003, from_hz), from_hz)
    blown = steps.resample(small, to_hz)
    assert quality.bandwidth_hz(blown) == pytest.approx(from_hz / 2, abs=300)
    as_stored = np.round(blown.samples * 32_767) / np.float32(32_767)
    assert quality.bandwidth_hz(Clip(as_stored, to_hz)) == pytest.approx(from_hz / 2, abs=300)


def test_a_real_48_khz_recording_has_its_band() -> None:
    assert quality.bandwidth_hz(Clip(babble(2, rate_hz=48_000) + noise(3, 0.003, 48_000), 48_000)) == 24_000
    assert quality.bandwidth_hz(Clip(np.zeros(100, np.float32), 16_000)) == 0


def test_letters_a_second_are_of_speech_and_not_of_pauses() -> None:
    clip = Clip(np.zeros(64_000, np.float32), 16_000, speech=((1.0, 2.0), (2.5, 3.5)))
    assert quality.letters_per_s(clip, "ⴰⵣⵓⵍ ⴼⵍⵍⴰⵡⵏ, 25!") == pytest.approx(5)
    assert quality.letters_per_s(replace(clip, speech=None), "سَلام") == pytest.approx(1)  # a mark is no letter


# ------------------------------------------------------------------ voice activity


def test_a_voice_is_found_where_it_is() -> None:
    (start_s, end_s), *more = voice.find_speech(Clip(babble(2), 16_000), VAD).speech or ()
    assert not more
    assert start_s == pytest.approx(0.5, abs=0.1)
    assert end_s == pytest.approx(2.5, abs=0.15)


@pytest.mark.parametrize("peak", [0.5, 0.005])
@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
def test_neither_level_nor_rate_hides_a_voice(rate_hz: int, peak: float) -> None:
    clip = Clip(babble(2, rate_hz=rate_hz) * np.float32(2 * peak), rate_hz)
    assert voice.find_speech(clip, VAD).speech


def test_noise_and_tones_are_no_speech() -> None:
    for clip in (Clip(noise(3, 0.1), 16_000), tone(440, rate_hz=16_000)):
        with pytest.raises(Reject, match=r"no speech found: prepare\.vad\.threshold is 0\.5"):
            voice.find_speech(clip, VAD)


def test_frames_all_at_once_are_the_same_as_one_after_the_other() -> None:
    """Against Silero's own frame-by-frame network, over more than one block."""
    import onnxruntime

    package = find_spec("silero_vad")
    assert package and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "data" / "silero_vad.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    samples = np.tile(babble(3), 9)
    samples *= np.float32(0.9) / np.abs(samples).max()
    state, found = np.zeros((2, 1, 128), np.float32), []
    heard: NDArray[np.float32] = np.zeros((1, 576), np.float32)
    for at in range(0, len(samples), 512):
        heard = np.concatenate([heard[:, -64:], np.zeros((1, 512), np.float32)], axis=1)
        heard[0, 64 : 64 + len(samples[at : at + 512])] = samples[at : at + 512]
        probability, state = session.run(None, {"input": heard, "state": state, "sr": np.array(16_000)})
        found.append(probability[0, 0])
    assert voice.speech_probability(Clip(samples, 16_000)) == pytest.approx(np.array(found), abs=1e-4)


probabilities = arrays(np.float32, st.integers(1, 200), elements=st.floats(0, 1, width=32))


@given(probabilities, st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_segments_are_in_order_apart_and_inside(
    probability: NDArray[np.float32], min_speech_s: float, min_silence_s: float
) -> None:
    vad = Vad(min_speech_s=min_speech_s, min_silence_s=min_silence_s)
    duration_s = len(probability) * 0.032 - 0.01
    found = voice.segments(probability, vad, duration_s)
    edges = [edge for segment in found for edge in segment]
    assert edges == sorted(edges)
    assert all(0 <= start_s < end_s <= duration_s for start_s, end_s in found)
    assert all(b[0] - a[1] >= min_silence_s - 1e-9 for a, b in pairwise(found))


@given(probabilities)
def test_every_frame_of_speech_is_in_a_segment(probability: NDArray[np.float32]) -> None:
    found = voice.segments(probability, Vad(min_speech_s=0.001), len(probability) * 0.032)
    for frame in np.flatnonzero(probability >= 0.5):
        assert any(start_s <= frame * 0.032 + 0.016 <= end_s for start_s, end_s in found)


def test_a_voiceless_beginning_is_not_cut_off() -> None:
    """ⵜⵅⵙⴷ begins without voice, which is where Silero does not look."""
    samples = babble(1.5, silence_s=1.0)
    samples[int(0.75 * 16_000) : int(0.98 * 16_000)] += noise(0.23, 0.05)  # as /xs/
    heard = voice.find_speech(Clip(samples + noise(3.5, 0.0005), 16_000), VAD)
    heard = replace(heard, speech=tuple((max(a, 0.95), b) for a, b in heard.speech or ()))
    reached = voice.reach_edges(heard).speech
    assert reached
    assert reached[0][0] == pytest.approx(0.75, abs=0.04)
    assert reached[-1][1] == heard.speech[-1][1] if heard.speech else False


def test_a_click_far_from_speech_stays_outside() -> None:
    samples = babble(1.5, silence_s=1.0)
    samples[4_000:4_200] = 0.5
    heard = voice.find_speech(Clip(samples, 16_000), VAD)
    reached = voice.reach_edges(heard).speech
    assert reached and reached[0][0] > 0.8


# ------------------------------------------------------------------ trimming and limits


def test_trim_leaves_speech_and_a_little_around_it() -> None:
    heard = replace(Clip(babble(2, silence_s=1), 16_000), speech=((1.0, 1.8), (2.2, 3.0)))
    clip = steps.trim(heard, pad_s=0.1)
    assert clip.duration_s == pytest.approx(2.2)
    assert np.array(clip.speech).ravel() == pytest.approx([0.1, 0.9, 1.3, 2.1])
    assert quality.speech_share(clip) == pytest.approx(1.6 / 2.2)


@given(st.floats(0, 1), st.floats(0, 0.99), st.floats(0.01, 2))
def test_trimmed_speech_is_inside_the_clip(pad_s: float, start_s: float, length_s: float) -> None:
    whole = Clip(np.zeros(16_000, np.float32), 16_000, speech=((start_s, min(1.0, start_s + length_s)),))
    clip = steps.trim(whole, pad_s)
    assert clip.speech
    assert 0 <= clip.speech[0][0] < clip.speech[-1][1] <= clip.duration_s + 1e-9


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (babble(0.1, silence_s=0), "too short: 0.10 s, prepare.min_duration_s is 0.5"),
        (np.zeros(16_000, np.float32), "silent: nothing in it is above -80 dB of full scale"),
        (noise(1, 1e-6), "silent: nothing in it is above -80 dB of full scale"),
    ],
)
def test_a_recording_of_nothing_is_refused(samples: NDArray[np.float32], reason: str) -> None:
    with pytest.raises(Reject) as rejected:
        steps.require_sound(Clip(samples, 16_000), 0.5)
    assert str(rejected.value) == reason


def test_edges_have_exactly_the_silence_that_was_asked_for() -> None:
    hiss = noise(4, 0.003)
    clip = Clip(babble(2, silence_s=1) + hiss, 16_000, speech=((1.0, 1.8), (2.2, 3.0)), clicks=(0.95, 1.5, 3.9))
    for edge_s in (0.0, 0.1, 0.5, 1.0, 1.7):
        done = steps.set_edges(clip, edge_s)
        assert done.duration_s == pytest.approx(2 + 2 * edge_s)
        assert np.array(done.speech).ravel() == pytest.approx([edge_s + at for at in (0, 0.8, 1.2, 2.0)])
        inside = slice(round(edge_s * 16_000), round((edge_s + 2) * 16_000))
        assert np.array_equal(done.samples[inside], clip.samples[16_000:48_000])
        assert any(at_s == pytest.approx(edge_s + 0.5) for at_s in done.clicks)
    lead = steps.set_edges(clip, 1.7).samples[: round(1.7 * 16_000)]
    assert np.std(lead[:8_000]) == pytest.approx(0.003, rel=0.1)  # the room goes on
    assert np.abs(np.diff(lead)).max() < 0.03  # without a seam


def test_without_a_room_to_go_on_the_edges_are_silent() -> None:
    clip = Clip(babble(2, silence_s=0) + np.float32(0.1), 16_000, speech=((0.0, 2.0),))
    done = steps.set_edges(clip, 0.3)
    assert done.duration_s == pytest.approx(2.6)
    assert not done.samples[:4_800].any() and not done.samples[-4_800:].any()
    assert abs(done.samples[4_800]) < 0.01  # and speech rises from it
    assert steps.set_edges(Clip(clip.samples, 16_000), 0.3).samples is clip.samples


@given(st.floats(0, 1), st.floats(0, 0.9), st.floats(0.05, 2))
def test_edges_are_kept_by_setting_them_again(edge_s: float, start_s: float, length_s: float) -> None:
    whole = Clip(noise(1, 0.01), 16_000, speech=((start_s, min(1.0, start_s + length_s)),))
    once = steps.set_edges(whole, edge_s)
    again = steps.set_edges(once, edge_s)
    assert abs(len(again.samples) - len(once.samples)) <= 2


def test_what_is_no_number_is_named() -> None:
    samples = babble(1)
    samples[8_000:8_800] = np.nan
    samples[9_000] = np.inf
    with pytest.raises(Reject, match=r"damaged: 801 samples are not numbers \(NaN or infinite\)"):
        steps.require_sound(Clip(samples, 16_000), 0.5)


def test_limits_say_what_to_do() -> None:
    clip = Clip(babble(2), 16_000)
    with pytest.raises(Reject, match=r"too short: 3.00 s of speech, prepare.min_duration_s is 5"):
        steps.require_duration(clip, 5, 20)
    with pytest.raises(Reject, match=r"too long: 3.0 s, .* cut it into sentences with a transcript each"):
        steps.require_duration(clip, 0.5, 2)


HEARD = quality.Heard(snr_db=12.0, clipped_share=0.02, bandwidth_hz=4_000, t60_s=0.9)
FIGURES = QUALITY.model_copy(update={"clicks": 3, "letters_per_s": 16.0})


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({}, None),
        ({"min_snr_db": 30}, "noisy: 12.0 dB, prepare.min_snr_db is 30"),
        ({"max_clipped_share": 0.01}, "clipped: 2.000% of the samples, prepare.max_clipped_share is 0.01"),
        ({"min_bandwidth_hz": 7000}, "narrow band: sound up to 4000 Hz only, prepare.min_bandwidth_hz is 7000"),
        ({"max_t60_s": 0.6}, "reverberant: sound takes 0.9 s to fade, prepare.max_t60_s is 0.6"),
        ({"max_clicks": 0}, "clicks: 3, prepare.max_clicks is 0"),
        (
            {"speaking_rate": {"max_letters_per_s": 15}},
            "too much text: 16.0 letters a second of speech, prepare.speaking_rate.max_letters_per_s is 15",
        ),
        (
            {"speaking_rate": {"min_letters_per_s": 18}},
            "too little text: 16.0 letters a second of speech, prepare.speaking_rate.min_letters_per_s is 18",
        ),
    ],
)
def test_every_limit_names_its_figure_and_its_key(limit: dict[str, object], reason: str | None) -> None:
    asked = Prepare.model_validate({"purpose": "tts_clone"} | limit)
    assert (limits.of_recording(HEARD, asked) or limits.of_utterance(FIGURES, asked)) == reason
    unknown = replace(HEARD, t60_s=None)
    assert limits.of_recording(unknown, Prepare(purpose="tts_clone", max_t60_s=0.1)) is None


@needs_shared("data/tamazight_speech")
@pytest.mark.parametrize(
    ("name", "begins_s"),
    [("common_voice_zgh_40180070.mp3", 0.62), ("common_voice_zgh_40143035.mp3", 0.80)],
)
def test_real_words_keep_their_voiceless_beginning(name: str, begins_s: float) -> None:
    """ⵜⵅⵙⴷ and ⵉⵇⵇⵓⵔ, whose first sounds Silero alone leaves out."""
    samples, rate_hz = soundfile.read(RECORDINGS / name, dtype="float32")
    clip = voice.reach_edges(voice.find_speech(steps.resample(Clip(samples, rate_hz), 16_000), VAD))
    assert clip.speech
    assert clip.speech[0][0] - VAD.pad_s <= begins_s
