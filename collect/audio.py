"""The only door through which foreign audio enters: type by bytes, bounded decoding, samples counted.

What this process itself reads of a foreign file is structure (`collect.decoding.containers`) and, of WAV, plain
numbers: libsndfile is told where they lie and how they are coded, and sees no header. All else is decoded in
a process without files, network or much memory (`collect.decoding.decoder`), or by ffmpeg in an empty folder.
"""

import contextlib
import io
import mmap
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collect.decoding import containers, decoder
from collect.decoding.limits import VALUES_PER_S, check_length, patience_s, too_large
from collect.decoding.limits import Refused as Refused

_MOV = "mov,mp4,m4a,3gp,3g2,mj2"  # one demuxer under six names
_FFMPEG = {"mp4": _MOV, "webm": "matroska", "amr": "amr", "wma": "asf"}  # demuxers, by kind
_CODECS = "aac,aac_latm,alac,amrnb,amrwb,flac,libopus,mp3,mp3float,opus,pcm_s16be,pcm_s16le,vorbis,wmapro,wmav1,wmav2"
_FFMPEG_BYTES = 2**30  # of memory, its libraries (350 MiB) included
_BLOCK = 65_536  # frames
_SILENT = 1e-4  # peak below this is silence: -80 dB of full scale


@dataclass(frozen=True)
class Decoded:
    """Samples, float32 (n, channels), with their rate."""

    samples: NDArray[np.float32]
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz


def decode(data: bytes, max_minutes: float, max_file_mib: float) -> Decoded:
    """Decode a whole file. Raises Refused with the reason: damaged, too long, silent, not a number.

    Memory: nothing for what is refused by its structure or its length; for the rest the samples, at most
    `max_minutes` of two channels at 48 kHz (22 MiB a minute), and for WAV and ffmpeg's formats once more
    the coded sound. Time: at most `patience_s`.
    """
    if len(data) > max_file_mib * 2**20:
        raise too_large(len(data), max_file_mib)
    what = containers.kind(data)
    if what == "wav":
        decoded = _by_hand(data, max_minutes)
    elif what in _FFMPEG:
        with _by_ffmpeg(data, _FFMPEG[what], max_minutes) as wav:
            decoded = _by_hand(wav, max_minutes)
    else:
        decoded = _by_child(data, what, max_minutes)
    return _heard(decoded)


def _heard(decoded: Decoded) -> Decoded:
    """The sound, unless it is none."""
    peak = 0.0
    for at in range(0, len(decoded.samples), _BLOCK):
        loudest = float(np.abs(decoded.samples[at : at + _BLOCK]).max())
        if not np.isfinite(loudest):
            raise Refused("samples that are not numbers (NaN or infinite)")
        peak = max(peak, loudest)
    if not len(decoded.samples):
        raise Refused("no samples in it: cut short, or never any sound")
    if peak < _SILENT:
        raise Refused("silence from beginning to end")
    return decoded


def _by_hand(data: bytes, max_minutes: float) -> Decoded:
    """The samples of a WAV. libsndfile gets them raw: of 256 MiB at most, and no chunk of a stranger's."""
    form = containers.wav(data)
    check_length(form.frames, form.channels, form.rate_hz, max_minutes)
    samples = np.empty((form.frames, form.channels), np.float32)
    raw = io.BytesIO(data[form.start : form.start + form.frames * form.width])
    if form.frames:
        with decoder.Forward(raw, "r", form.rate_hz, form.channels, form.subtype, "LITTLE", "RAW") as file:
            samples = file.read(form.frames, out=samples)
    return Decoded(samples, form.rate_hz)


# ---------------------------------------------------------------- FLAC, Ogg, MP3: a process that is kept


def _by_child(data: bytes, what: containers.Kind, max_minutes: float) -> Decoded:
    """Decode in the child, and compare what was counted with what the file promises."""
    head, promised, expected = b"", 0, 0
    if what == "flac":
        data = data[containers.after_id3(data) :]
        head, promised = containers.flac(data)
    elif what == "ogg":
        containers.ogg(data, max_minutes)
    else:
        expected = containers.mp3(data, max_minutes)
    answer, samples = decoder.child.ask(head, data, promised, max_minutes)
    frames = len(samples)
    if what == "ogg":
        promised = answer["claimed"] if answer["claimed"] < 2**40 else 0
    if frames < promised:
        raise Refused(f"cut short: {frames} of {promised} samples are there")
    if frames < expected - 10_000:  # an encoder's delay and padding, 4095 each at most, are taken off
        raise Refused(f"damaged: {frames} of {expected} samples could be decoded")
    return Decoded(samples, answer["rate_hz"])


# ---------------------------------------------------------------- the formats of phones: ffmpeg, once a file


@contextlib.contextmanager
def _by_ffmpeg(data: bytes, demuxer: str, max_minutes: float) -> Iterator[bytes]:
    """A container as WAV, by a process of its own: one demuxer, the codecs of speech, bounded time, memory and size.

    No format that names other files is let in, and no protocol of the network.
    """
    program = shutil.which("ffmpeg")
    if not program:
        raise Refused("this format needs ffmpeg: apt install ffmpeg")
    most_bytes = int(max_minutes * 60 * VALUES_PER_S * 2) + 2**20
    command = [program, "-nostdin", "-v", "error", "-xerror", "-threads", "1"]
    command += ["-protocol_whitelist", "file", "-format_whitelist", demuxer, "-codec_whitelist", _CODECS]
    command += ["-f", demuxer.split(",")[0], "-i", "in", "-map", "0:a:0", "-map_metadata", "-1"]
    command += ["-t", str(max_minutes * 60 + 1), "-fs", str(most_bytes), "-c:a", "pcm_s16le", "-f", "wav", "out"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").write_bytes(data)
        try:
            with open(f"{folder}/err", "wb") as err:  # a file, for its size is limited like any
                code = subprocess.run(
                    [*_bounded(most_bytes, max_minutes), *command],
                    cwd=folder,
                    env={},
                    stdin=subprocess.DEVNULL,
                    stdout=err,
                    stderr=err,
                    timeout=patience_s(max_minutes),
                ).returncode
        except subprocess.TimeoutExpired:
            raise Refused(f"decoding took over {patience_s(max_minutes):g} s") from None
        with open(f"{folder}/err", "rb") as err:
            _check_ffmpeg(code, err.read(2**16).decode(errors="replace"))
        if not os.path.exists(f"{folder}/out") or not os.path.getsize(f"{folder}/out"):
            raise Refused("no samples in it: cut short, or never any sound")
        with open(f"{folder}/out", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as wav:
            yield wav  # type: ignore[misc]


def _check_ffmpeg(code: int, said: str) -> None:
    """Raises Refused when ffmpeg failed, or said what it does not count as failure."""
    said = " ".join(re.sub(r"\[.*? @ 0x\w+\]", "", said).split())
    if "matches no streams" in said:
        raise Refused("no sound in it")
    if code:
        raise Refused(f"damaged: {said[:160].rstrip('.') or 'ffmpeg stopped'}")
    if "File ended prematurely" in said:  # a webm
        raise Refused("cut short: the file ends before its sound does")


def _bounded(most_bytes: int, max_minutes: float) -> list[str]:
    """What runs a command under limits. The shell sets them: after a fork Python is not safe with threads."""
    limits = {"c": 0, "t": int(patience_s(max_minutes)), "v": _FFMPEG_BYTES // 1024, "f": most_bytes // 512 + 2_048}
    lines = [f"ulimit -{letter} {limit} 2>/dev/null" for letter, limit in limits.items()]
    return ["/bin/sh", "-c", "; ".join([*lines, 'exec "$@"']), "sh"]
