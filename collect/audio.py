"""The only door through which foreign audio enters: type by bytes, bounded decoding, samples counted."""

import io
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

Kind = Literal["wav", "flac", "ogg", "mp3", "mp4", "webm", "amr", "wma"]

_SUBTYPES = {"PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE"}  # of WAV; ADPCM and its like stay out
_FFMPEG = {"mp4": "mov", "webm": "matroska", "amr": "amr", "wma": "asf"}  # demuxers, by kind
_BLOCK = 65_536  # samples
_SILENT = 1e-4  # peak below this is silence: -80 dB of full scale
_FFMPEG_SECONDS = 120
_FFMPEG_BYTES = 2 * 1024**3


class Refused(Exception):
    """Audio that does not come in. Its text is the reason, on one line."""


@dataclass(frozen=True)
class Decoded:
    """Samples, float32 (n, channels), with their rate."""

    samples: NDArray[np.float32]
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz


def kind(data: bytes) -> Kind:
    """What the bytes are, whatever the file is called. Raises Refused for anything not on the list."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"fLaC":
        return "flac"
    if data[:4] == b"OggS":
        return "ogg"
    if data[:3] == b"ID3" or _mpeg_frame(data, 0):
        return "mp3"
    if data[4:8] == b"ftyp":
        return "mp4"  # m4a, mp4 and 3gp are one family
    if data[:4] == b"\x1aE\xdf\xa3":
        return "webm"
    if data[:5] == b"#!AMR":
        return "amr"
    if data[:4] == b"\x30\x26\xb2\x75":
        return "wma"
    if not data:
        raise Refused("the file is empty")
    raise Refused("not audio (the bytes are none of WAV, FLAC, Ogg, MP3, m4a, 3gp, webm, amr, wma)")


def decode(data: bytes, max_minutes: float) -> Decoded:
    """Decode a whole file. Raises Refused with the reason: damaged, too long, silent, not a number."""
    what = kind(data)
    if what == "wav":
        _whole_wav(data)
    elif what == "mp3":
        _whole_mp3(data)
    if what in _FFMPEG:
        data = _by_ffmpeg(data, _FFMPEG[what], max_minutes)
    return _check(_by_soundfile(data, what, max_minutes))


def _check(decoded: Decoded) -> Decoded:
    if not 4_000 <= decoded.rate_hz <= 384_000:
        raise Refused(f"a sampling rate of {decoded.rate_hz} Hz")
    if not len(decoded.samples):
        raise Refused("no samples in it: cut short, or never any sound")
    if not np.isfinite(decoded.samples).all():
        raise Refused("samples that are not numbers (NaN or infinite)")
    if np.abs(decoded.samples).max() < _SILENT:
        raise Refused("silence from beginning to end")
    return decoded


def _by_soundfile(data: bytes, what: Kind, max_minutes: float) -> Decoded:
    """Decode by libsndfile in blocks, counting samples: headers are not believed."""
    blocks: list[NDArray[np.float32]] = []
    count = 0
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if what == "wav" and file.subtype not in _SUBTYPES:
                raise Refused(f"WAV coded as {file.subtype}; save it as PCM")
            rate_hz = file.samplerate
            promised = file.frames
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                count += len(block)
                if count > max_minutes * 60 * rate_hz:
                    raise Refused(f"longer than {max_minutes:g} minutes (collect.max_minutes)")
                blocks.append(block)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise Refused(f"damaged: {_one_line(error)}") from None
    if what in ("flac", "ogg") and count < promised < 2**40:
        raise Refused(f"cut short: {count} of {promised} samples are there")
    return Decoded(np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32), rate_hz)


def _by_ffmpeg(data: bytes, demuxer: str, max_minutes: float) -> bytes:
    """Decode a container to WAV in a process of its own: one demuxer, no network, bounded time and memory.

    The demuxer is named, and the only protocol is a file in an empty folder: a playlist that calls itself
    audio cannot reach other files.
    """
    program = shutil.which("ffmpeg")
    if not program:
        raise Refused("this format needs ffmpeg: apt install ffmpeg")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file"]
    command += ["-format_whitelist", demuxer if demuxer != "mov" else "mov,mp4,m4a,3gp,3g2,mj2"]
    command += ["-f", demuxer, "-i", "in", "-map", "0:a:0", "-t", str(max_minutes * 60 + 1)]
    command += ["-c:a", "pcm_s16le", "-f", "wav", "out"]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/in", "wb") as file:
            file.write(data)
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=_FFMPEG_SECONDS, env={}, preexec_fn=_bounded
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"decoding took over {_FFMPEG_SECONDS} s") from None
        if done.returncode:
            raise Refused(f"damaged: {_one_line(done.stderr.decode(errors='replace')) or 'ffmpeg stopped'}")
        with open(f"{folder}/out", "rb") as file:
            return file.read()


def _bounded() -> None:
    """Limits of the decoding process, set before it starts."""
    resource.setrlimit(resource.RLIMIT_AS, (_FFMPEG_BYTES, _FFMPEG_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FFMPEG_BYTES // 2, _FFMPEG_BYTES // 2))
    resource.setrlimit(resource.RLIMIT_CPU, (_FFMPEG_SECONDS, _FFMPEG_SECONDS))


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:160].rstrip(".")


def _whole_wav(data: bytes) -> None:
    """Refuse a WAV whose data chunk promises more bytes than the file has."""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            # 0 and 2^32 - 1 are what recorders write that could not go back: the length is then unknown.
            if size not in (0, 0xFFFFFFFF) and at + 8 + size > len(data):
                raise Refused(f"cut short: {len(data) - at - 8} of {size} bytes of sound are there")
            return
        at += 8 + size + size % 2
    raise Refused("damaged: a WAV without sound")


# ISO/IEC 11172-3, table of bit rates (kbit/s) for layer III; the second row is of ISO/IEC 13818-3.
_MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _mpeg_frame(data: bytes, at: int) -> int:
    """Bytes of the layer III frame that begins at `at`; 0 when none does (ISO/IEC 11172-3, 2.4.1.3)."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return 0
    version, rate, hz = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or rate in (0, 15) or hz == 3:
        return 0
    kbps = (_MPEG1_KBPS if version == 3 else _MPEG2_KBPS)[rate]
    samples = 144 if version == 3 else 72
    return samples * kbps * 1000 // _MPEG_HZ[version][hz] + (data[at + 2] >> 1 & 1)


def _whole_mp3(data: bytes) -> None:
    """Refuse an MP3 whose last frame is longer than what is left of the file, or with fewer frames than it says."""
    at = 0
    if data[:3] == b"ID3":
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False))
    frames = 0
    first = data[at : at + 200]
    while size := _mpeg_frame(data, at):
        if at + size > len(data):
            raise Refused(f"cut short: the last frame of the MP3 lacks {at + size - len(data)} bytes")
        at += size
        frames += 1
    if not frames:
        raise Refused("damaged: no MP3 frame in it")
    mark = max(first.find(b"Xing"), first.find(b"Info"))
    if mark > 0 and int.from_bytes(first[mark + 4 : mark + 8], "big") & 1:
        promised = int.from_bytes(first[mark + 8 : mark + 12], "big")
        if frames < promised:
            raise Refused(f"cut short: {frames} of {promised} MP3 frames are there")
