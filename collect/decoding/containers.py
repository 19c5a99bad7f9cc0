"""What a file's bytes say it is and holds, read before any decoder sees them.

Only the structure is read, in bounded time: a header that lies, a file cut short and a coding that is not
on the list are found here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from collect.decoding.limits import Refused, check_shape, too_long

Kind = Literal["wav", "flac", "ogg", "mp3", "mp4", "webm", "amr", "wma"]

_WAV_CHUNKS = 1_000  # walked at most
_OGG_PAGES_PER_S = 400  # one packet of 2.5 ms a page is the most that Opus can need


def kind(data: bytes) -> Kind:
    """What the bytes are, whatever the file is called. Raises Refused for anything not on the list."""
    start = data[after_id3(data) :][:4] if data[:3] == b"ID3" else data[:4]
    if start in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if start == b"fLaC":
        return "flac"
    if start == b"OggS":
        return "ogg"
    if data[:3] == b"ID3" or _mpeg_frame(data, 0):
        return "mp3"
    if data[4:8] == b"ftyp":
        return "mp4"  # m4a, mp4 and 3gp are one family
    if start == b"\x1aE\xdf\xa3":
        return "webm"
    if data[:6] == b"#!AMR\n" or data[:9] == b"#!AMR-WB\n":
        return "amr"
    if start == b"\x30\x26\xb2\x75":
        return "wma"
    if not data:
        raise Refused("the file is empty")
    raise Refused("not audio (the bytes are none of WAV, FLAC, Ogg, MP3, m4a, 3gp, webm, amr, wma)")


# ---------------------------------------------------------------- WAV


@dataclass(frozen=True)
class Pcm:
    """Where the sound of a WAV lies, and how it is coded (a subtype of libsndfile)."""

    subtype: str
    channels: int
    rate_hz: int
    start: int
    frames: int
    width: int  # bytes of one frame


# WAVEFORMATEX: format tag and bits. ADPCM, mu-law and their like stay out.
_SUBTYPES = {
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
}
_OTHERS = {2: "MS ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x55: "MP3"}
_EXTENSIBLE = 0xFFFE
_GUID = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"  # what follows the format tag in a SubFormat
_UNKNOWN = (0, 0xFFFFFFFF)  # of recorders that could not go back to write the length


def wav(data: bytes) -> Pcm:
    """The layout of a WAV (RIFF, or RF64 by EBU Tech 3306). Raises Refused when damaged, cut short or not PCM."""
    form: tuple[str, int, int, int] | None = None
    long = 0
    for name, at, size in _chunks(data):
        if name == b"ds64":
            long = int.from_bytes(data[at + 8 : at + 16], "little")
        elif name == b"fmt " and form is None:
            form = _wave_format(data[at : at + min(size, 40)])
        elif name == b"data":
            if form is None:
                break
            subtype, channels, rate_hz, width = form
            left = len(data) - at
            if data[:4] == b"RF64" and size == 0xFFFFFFFF:
                size = long
            if size in _UNKNOWN:
                size = left
            if size > left:
                raise Refused(f"cut short: {left} of {size} bytes of sound are there")
            return Pcm(subtype, channels, rate_hz, at, size // width, width)
    raise Refused("damaged: a WAV without sound")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and claimed size of each chunk."""
    at = 12
    for _ in range(_WAV_CHUNKS):
        if at + 8 > len(data):
            return
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, size
        at += 8 + size + size % 2


def _wave_format(chunk: bytes) -> tuple[str, int, int, int]:
    """Subtype, channels, rate and bytes a frame."""
    if len(chunk) < 16:
        raise Refused("damaged: the header of the WAV is cut short")
    tag, channels, rate_hz, _, width, bits = (
        int.from_bytes(chunk[at : at + size], "little")
        for at, size in ((0, 2), (2, 2), (4, 4), (8, 4), (12, 2), (14, 2))
    )
    if tag == _EXTENSIBLE and len(chunk) == 40 and chunk[26:] == _GUID:
        tag = int.from_bytes(chunk[24:26], "little")
    if (tag, bits) not in _SUBTYPES:
        raise Refused(f"WAV coded as {_OTHERS.get(tag, f'{tag:#06x}')} of {bits} bits; save it as PCM")
    check_shape(rate_hz, channels)
    if width != channels * bits // 8:
        raise Refused(f"damaged: {width} bytes for {channels} samples of {bits} bits")
    return _SUBTYPES[tag, bits], channels, rate_hz, width


# ---------------------------------------------------------------- FLAC


def flac(data: bytes) -> tuple[bytes, int]:
    """The first 26 bytes with the number of samples struck out, and that number; 0 when it is unknown.

    STREAMINFO (RFC 9639, 8.2) says how many samples there are and libFLAC stops there, whatever the stream
    holds. Struck out, the stream is decoded to its end and the samples are counted.
    """
    if len(data) < 42 or data[4] & 0x7F or data[5:8] != b"\0\0\x22":
        raise Refused("damaged: a FLAC without STREAMINFO")
    promised = int.from_bytes(data[21:26], "big") & 0xF_FFFF_FFFF
    return data[:21] + bytes([data[21] & 0xF0, 0, 0, 0, 0]), promised


# ---------------------------------------------------------------- Ogg


def ogg(data: bytes, max_minutes: float) -> None:
    """Raises Refused unless the pages of one Vorbis or Opus stream follow each other to the end (RFC 3533, 6)."""
    packet = data[27 + data[26] if len(data) > 27 else 0 :][:8]
    if packet != b"OpusHead" and packet[:7] != b"\x01vorbis":
        raise Refused("Ogg of neither Opus nor Vorbis")
    at = number = 0
    serial = data[14:18]
    while data[at : at + 4] == b"OggS":
        if data[at + 14 : at + 18] != serial:
            raise Refused("Ogg of several streams; save the sound alone")
        if int.from_bytes(data[at + 18 : at + 22], "little") != number:
            raise Refused(f"damaged: Ogg page {number} is missing")
        sizes = data[at + 27 : at + 27 + data[at + 26]] if at + 27 <= len(data) else b""
        at += 27 + len(sizes) + sum(sizes)
        number += 1
        if number > 1_000 + _OGG_PAGES_PER_S * 60 * max_minutes:
            raise too_long(max_minutes)
    if at > len(data):
        raise Refused(f"cut short: the last Ogg page lacks {at - len(data)} bytes")
    if at < len(data):
        raise Refused(f"damaged: not Ogg from byte {at} on")


# ---------------------------------------------------------------- MP3

# ISO/IEC 11172-3, table of bit rates (kbit/s) for layer III; the second row is of ISO/IEC 13818-3.
_MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # what may follow the sound


def after_id3(data: bytes) -> int:
    """Where the sound begins, after an ID3v2 tag (id3.org, ID3v2.4 section 3.1) or at 0."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))


def mp3(data: bytes, max_minutes: float) -> int:
    """How many samples its frames hold. Raises Refused for a gap, a cut, or a header that says otherwise.

    The frames are walked from the first to the last.
    """
    at = start = after_id3(data)
    frames = 0
    form = _mpeg_form(data, at)
    samples, rate_hz, _ = form
    while size := _mpeg_frame(data, at):
        if at + size > len(data):
            raise Refused(f"cut short: the last frame of the MP3 lacks {at + size - len(data)} bytes")
        if _mpeg_form(data, at) != form:
            raise Refused(f"damaged: another sampling rate or number of channels from byte {at} on")
        at += size
        frames += 1
        if frames * samples > max_minutes * 60 * rate_hz + 10_000:  # encoders add up to 8190
            raise too_long(max_minutes)
    if not frames:
        raise Refused("damaged: no MP3 frame in it")
    if not data[at:].startswith(_TAGS) and data[at:].strip(b"\0"):
        raise Refused(f"damaged: not MP3 from byte {at} on")
    promised = _xing_frames(data[start : start + 200])
    if promised is not None and not promised <= frames <= promised + 1:  # some count the Xing frame itself
        raise Refused(
            f"{'cut short' if frames < promised else 'damaged'}: {frames} of {promised} MP3 frames are there"
        )
    return frames * samples


def _xing_frames(first: bytes) -> int | None:
    """How many frames the Xing header in the first one promises; None without."""
    mark = max(first.find(b"Xing"), first.find(b"Info"))
    if mark < 0 or not int.from_bytes(first[mark + 4 : mark + 8], "big") & 1:
        return None
    return int.from_bytes(first[mark + 8 : mark + 12], "big")


def _mpeg_form(data: bytes, at: int) -> tuple[int, int, bool]:
    """Samples, sampling rate, and whether it is mono, of the frame at `at`; zeros when there is none."""
    if not _mpeg_frame(data, at):
        return 0, 0, False
    version = data[at + 1] >> 3 & 3
    return 1152 if version == 3 else 576, _MPEG_HZ[version][data[at + 2] >> 2 & 3], data[at + 3] >> 6 == 3


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
