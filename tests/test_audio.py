"""The only door for foreign audio: bytes decide, samples are counted, and every refusal says why."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from collect.audio import Refused, decode
from collect.decoding.containers import kind
from tests.conftest import needs

RATE_HZ = 16_000
TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)  # one second


def coded(samples: np.ndarray = TONE, form: str = "WAV", subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, subtype, format=form)
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "subtype", "known_as"),
    [
        ("WAV", "PCM_16", "wav"),
        ("WAV", "PCM_24", "wav"),
        ("WAV", "FLOAT", "wav"),
        ("FLAC", "PCM_16", "flac"),
        ("OGG", "VORBIS", "ogg"),
        ("OGG", "OPUS", "ogg"),
        ("MP3", None, "mp3"),
    ],
)
def test_formats_are_known_by_their_bytes_and_decoded(form: str, subtype: str | None, known_as: str) -> None:
    data = coded(form=form, subtype=subtype)
    assert kind(data) == known_as
    sound = decode(data, max_minutes=1, max_file_mib=256)
    assert sound.rate_hz == RATE_HZ or subtype == "OPUS"
    assert sound.samples.dtype == np.float32 and sound.samples.shape[1] == 1
    assert sound.duration_s == pytest.approx(1.0, abs=0.11)
    assert np.abs(sound.samples).max() == pytest.approx(0.3, abs=0.05)


def test_both_channels_are_kept() -> None:
    assert decode(coded(np.stack([TONE, TONE / 2], axis=1)), 1, 256).samples.shape == (RATE_HZ, 2)


@needs("ffmpeg")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.m4a", ["-c:a", "aac"]),
        ("a.mp4", ["-c:a", "aac"]),
        ("a.webm", ["-c:a", "libopus"]),
        ("a.3gp", ["-c:a", "aac"]),
        ("a.wma", ["-c:a", "wmav2"]),
    ],
)
def test_phone_formats_come_in_through_ffmpeg(tmp_path: Path, name: str, options: list[str]) -> None:
    (tmp_path / "in.wav").write_bytes(coded())
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "in.wav", *options, tmp_path / name]
    subprocess.run(command, check=True)
    sound = decode((tmp_path / name).read_bytes(), max_minutes=1, max_file_mib=256)
    assert sound.duration_s == pytest.approx(1.0, abs=0.15)


def test_without_ffmpeg_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(Refused, match="this format needs ffmpeg: apt install ffmpeg"):
        decode(b"\0\0\0\x20ftypM4A " + bytes(64), 1, 256)


def cut(form: str, subtype: str | None = None, share: float = 0.6) -> bytes:
    data = coded(np.tile(TONE, 3), form, subtype)
    return data[: int(len(data) * share)]


def lying_rate(rate_hz: int) -> bytes:
    data = bytearray(coded())
    data[24:28] = rate_hz.to_bytes(4, "little")
    return bytes(data)


BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello, this is no sound\n" * 20, "not audio"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not audio"),
    "cut WAV": (cut("WAV"), "cut short: .* bytes of sound are there"),
    "cut FLAC": (cut("FLAC"), "cut short|damaged"),
    "cut MP3": (cut("MP3"), "cut short: "),
    "cut Ogg": (cut("OGG", "VORBIS"), "cut short|damaged"),
    "NaN": (coded(np.where(np.arange(RATE_HZ) == 99, np.nan, TONE), subtype="FLOAT"), "not numbers"),
    "silence": (coded(np.zeros(RATE_HZ)), "silence from beginning to end"),
    "no samples": (coded(np.zeros(0)), "no samples|damaged"),
    "ADPCM": (coded(subtype="IMA_ADPCM"), "WAV coded as IMA ADPCM of 4 bits; save it as PCM"),
    "rate of 0": (lying_rate(0), "sampling rate of 0 Hz|damaged"),
    "rate of 4 GHz": (lying_rate(2**31), "sampling rate|damaged"),
    "too long": (coded(np.tile(TONE, 70)), r"longer than 1 minutes \(collect.max_minutes\)"),
    "header only": (coded()[:44], "cut short|no samples|damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_audio_is_refused_with_one_line(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(Refused, match=reason) as caught:
        decode(data, max_minutes=1, max_file_mib=256)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["WAV", "FLAC", "MP3", "OGG"]), st.data())
def test_a_damaged_file_is_decoded_or_refused_and_nothing_else(form: str, data: st.DataObject) -> None:
    whole = bytearray(coded(TONE[:4000], form))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        sound = decode(bytes(whole), max_minutes=1, max_file_mib=256)
    except Refused:
        return
    assert np.isfinite(sound.samples).all() and sound.duration_s <= 61
