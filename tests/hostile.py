"""Audio made to harm, each piece by a few lines, with the verdict it must get. `tests/gauntlet.py` runs it."""

import io
import shutil
import struct
import subprocess
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)  # one second
EXACT, NEAR = "decoded exactly", "decoded"  # expected verdicts beside a pattern of the refusal


def coded(samples: np.ndarray = TONE, form: str = "WAV", subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    """Samples as a file of libsndfile's."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, subtype, format=form)
    return out.getvalue()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


# ---------------------------------------------------------------- WAV


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def wave(*chunks: bytes, riff_size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def form(tag: int = 1, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, width: int | None = None) -> bytes:
    width = channels * bits // 8 % 2**16 if width is None else width
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * width % 2**32, width, bits))


PCM = (TONE * 32_767).astype("<i2").tobytes()
SOUND = chunk(b"data", PCM)


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


# ---------------------------------------------------------------- FLAC of constant blocks: any length in no bytes


def crc(data: bytes, polynomial: int, bits: int) -> int:
    value, top, mask = 0, 1 << bits - 1, (1 << bits) - 1
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


CRC_8 = [crc(bytes([n]), 0x07, 8) for n in range(256)]
CRC_16 = [crc(bytes([n]), 0x8005, 16) for n in range(256)]
CRC_32 = [crc(bytes([n]), 0x04C11DB7, 32) for n in range(256)]


def utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def endless_flac(seconds: int, promised_s: int | None = None, channels: int = 1) -> bytes:
    """A valid FLAC at 48 kHz: 15 bytes hold 1.4 seconds."""
    promised = (seconds if promised_s is None else promised_s) * 48_000
    fields = 48_000 << 44 | channels - 1 << 41 | 15 << 36 | promised
    blocks = [
        b"fLaC\x80\0\0\x22" + struct.pack(">HH", 65_535, 65_535) + bytes(6) + fields.to_bytes(8, "big") + bytes(16)
    ]
    for number in range(seconds * 48_000 // 65_535):
        head = b"\xff\xf8\x7a" + bytes([channels - 1 << 4 | 8]) + utf8(number) + b"\xff\xfe"
        low = 0
        for byte in head:
            low = CRC_8[low ^ byte]
        frame = head + bytes([low]) + b"\0\x10\0" * channels
        high = 0
        for byte in frame:
            high = (high << 8 ^ CRC_16[high >> 8 ^ byte]) & 0xFFFF
        blocks.append(frame + struct.pack(">H", high))
    return b"".join(blocks)


# ---------------------------------------------------------------- Ogg


def pages(packets: list[bytes], granules: list[int], serial: int = 1) -> bytes:
    """One packet a page."""
    out = b""
    for number, (packet, granule) in enumerate(zip(packets, granules, strict=True)):
        laces = [255] * (len(packet) // 255) + [len(packet) % 255]
        flags = 2 if not number else 4 if number == len(packets) - 1 else 0
        head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, number, 0, len(laces))
        out += head + bytes(laces) + packet
    return sealed(out)


def sealed(data: bytes) -> bytes:
    """Ogg pages with their checksums set right, as far as they can be walked."""
    out, at = bytearray(data), 0
    while data[at : at + 4] == b"OggS" and at + 27 <= len(data):
        laces = data[at + 27 : at + 27 + data[at + 26]]
        end = min(len(data), at + 27 + len(laces) + sum(laces))
        out[at + 22 : at + 26] = bytes(4)
        value = 0
        for byte in out[at:end]:
            value = (value << 8 ^ CRC_32[value >> 24 ^ byte]) & 0xFFFFFFFF
        out[at + 22 : at + 26] = struct.pack("<I", value)
        at = end
    return bytes(out)


def vorbis_bomb(books: int = 256, entries_log2: int = 18, dimensions: int = 16) -> bytes:
    """Vorbis headers of 26 bytes a code book that make libvorbis ask for 20 MB each (Vorbis I, 3.2.1).

    From 2^20 entries on it overruns its stack instead: the process ends.
    """
    bits = value = 0

    def put(*fields: tuple[int, int]) -> None:
        nonlocal bits, value
        for field, width in fields:
            value |= field << bits
            bits += width

    entries, values = 2**entries_log2, int(2 ** (entries_log2 / dimensions))
    put((books - 1, 8))
    for _ in range(books):
        put((0x564342, 24), (dimensions, 16), (entries, 24), (1, 1))
        put((entries_log2 - 1, 5), (entries, entries_log2 + 1))  # every word is of the same length
        put((1, 4), (0, 32), (0, 32), (0, 4), (0, 1), (0, values))
    put((0, 6), (0, 16), (0, 6), (1, 16), (0, 5), (0, 2), (4, 4))  # times, floors
    put((0, 6), (0, 16), (0, 24), (8, 24), (0, 24), (0, 6), (0, 8), (0, 3), (0, 1))  # residues
    put((0, 6), (0, 16), (0, 1), (0, 1), (0, 2), (0, 8), (0, 8), (0, 8))  # mappings
    put((0, 6), (0, 1), (0, 16), (0, 16), (0, 8), (1, 1))  # modes, framing
    setup = value.to_bytes((bits + 7) // 8, "little")
    first = b"\x01vorbis" + struct.pack("<IBIIIIBB", 0, 1, RATE_HZ, 0, 0, 0, 0xB8, 1)
    second = b"\x03vorbis" + bytes(8) + b"\x01"
    return pages([first, second, b"\x05vorbis" + setup, bytes(40), bytes(40)], [0, 0, 0, 128, 256])


# ---------------------------------------------------------------- the set


def seeds(canary: Path) -> dict[str, tuple[bytes, str]]:
    """By what is wrong with them, each with EXACT, NEAR or a pattern of the refusal. None may read the canary."""
    return {**waves(), **flacs(), **oggs(), **mp3s(), **strangers(canary), **containers(canary)}


def waves() -> dict[str, tuple[bytes, str]]:
    extensible = struct.pack("<HHI", 22, 16, 4)
    return {
        "wav: RIFF size 0xFFFFFFF0": (wave(form(), SOUND, riff_size=0xFFFFFFF0), EXACT),
        "wav: RIFF size 0": (wave(form(), SOUND, riff_size=0), EXACT),
        "wav: sound of unknown length": (wave(form(), chunk(b"data", PCM, 0xFFFFFFFF)), EXACT),
        "wav: sound of length 0, and more": (wave(form(), chunk(b"data", PCM, 0)), EXACT),
        "wav: sound of 0xFFFFFFF0 bytes": (
            wave(form(), chunk(b"data", PCM, 0xFFFFFFF0)),
            "cut short: 32000 of 4294967280",
        ),
        "wav: sound of one byte too many": (wave(form(), chunk(b"data", PCM, 32_001)), "cut short"),
        "wav: cut": (wave(form(), SOUND)[:20_000], "cut short"),
        "wav: header only": (wave(form(), SOUND)[:44], "cut short"),
        "wav: cut in the header": (wave(form(), SOUND)[:30], "damaged"),
        "wav: no sound": (wave(form(), chunk(b"data", b"")), "no samples"),
        "wav: half a sample": (wave(form(), chunk(b"data", b"x")), "no samples"),
        "wav: sound before the format": (wave(SOUND, form()), "damaged"),
        "wav: two formats, the second with 1024 channels": (wave(form(), form(channels=1024), SOUND), EXACT),
        "wav: page of HTML in a chunk": (
            wave(form(), chunk(b"LIST", b"<script>alert(1)</script>" * 9), SOUND),
            EXACT,
        ),
        "wav: and a zip": (wave(form(), SOUND) + zipped("x.py", b"print()"), EXACT),
        "wav: chunk of 4 GiB": (wave(form(), chunk(b"LIST", b"", 0xFFFFFFFE), SOUND), "damaged"),
        "wav: 100,000 empty chunks": (wave(form(), chunk(b"junk", b"") * 100_000, SOUND), "damaged"),
        "wav: 1024 channels": (wave(form(channels=1024), SOUND), "1024 channels"),
        "wav: 65535 channels": (wave(form(channels=65_535), SOUND), "65535 channels"),
        "wav: no channel": (wave(form(channels=0), SOUND), "0 channels"),
        "wav: 0 Hz": (wave(form(rate_hz=0), SOUND), "rate of 0 Hz"),
        "wav: 1 Hz": (wave(form(rate_hz=1), SOUND), "rate of 1 Hz"),
        "wav: 4 GHz": (wave(form(rate_hz=2**32 - 1), SOUND), "rate of 4294967295 Hz"),
        "wav: frames of 0 bytes": (wave(form(width=0), SOUND), "damaged"),
        "wav: frames of 65535 bytes": (wave(form(width=65_535), SOUND), "damaged"),
        "wav: format of 0 bytes": (wave(chunk(b"fmt ", b""), SOUND), "damaged"),
        "wav: format of 2 bytes": (wave(chunk(b"fmt ", b"\1\0"), SOUND), "damaged"),
        "wav: format of 4 GiB": (wave(form()[:4] + b"\xff" * 4 + form()[8:], SOUND), "damaged"),
        "wav: IMA ADPCM": (coded(subtype="IMA_ADPCM"), "coded as IMA ADPCM"),
        "wav: IMA ADPCM, blocks of 64 KiB": (wave(form(0x11, 2, bits=4, width=65_535), SOUND), "coded as IMA ADPCM"),
        "wav: MS ADPCM": (coded(subtype="MS_ADPCM"), "coded as MS ADPCM"),
        "wav: mu-law": (coded(subtype="ULAW"), "coded as mu-law"),
        "wav: A-law": (coded(subtype="ALAW"), "coded as A-law"),
        "wav: GSM": (coded(subtype="GSM610", rate_hz=8_000), "coded as GSM"),
        "wav: PCM of 64 bits": (wave(form(bits=64), SOUND), "coded as 0x0001 of 64 bits"),
        "wav: extensible": (coded(form="WAVEX", subtype="PCM_16"), EXACT),
        "wav: extensible to something else": (
            wave(chunk(b"fmt ", form(0xFFFE)[8:] + extensible + b"\x11\0" + bytes(14)), SOUND),
            "coded as 0xfffe",
        ),
        "wav: RF64": (coded(form="RF64", subtype="PCM_16"), EXACT),
        "wav: RF64 of 2^60 bytes": (
            b"RF64"
            + wave(chunk(b"ds64", struct.pack("<QQQ", 0, 2**60, 0)), form(), chunk(b"data", PCM, 2**32 - 1))[4:],
            "cut short",
        ),
        "wav: not a number": (
            coded(np.where(np.arange(RATE_HZ) == 99, np.nan, TONE), subtype="FLOAT"),
            "not numbers",
        ),
        "wav: infinite": (coded(np.where(np.arange(RATE_HZ) == 99, -np.inf, TONE), subtype="FLOAT"), "not numbers"),
        "wav: 1e300": (coded(TONE.astype(np.float64) * 1e300, subtype="DOUBLE"), "not numbers"),
        "wav: silence": (coded(np.zeros(RATE_HZ)), "silence"),
        "wav: 31 minutes": (
            wave(form(rate_hz=4_000, bits=8), chunk(b"data", b"\x90" * 31 * 60 * 4_000)),
            "longer than 30",
        ),
    }


def flacs() -> dict[str, tuple[bytes, str]]:
    good = coded(np.tile(TONE, 3), "FLAC")
    info = int.from_bytes(good[18:26], "big")

    def promising(samples: int) -> bytes:
        return patched(good, 18, (info >> 36 << 36 | samples).to_bytes(8, "big"))

    return {
        "flac: 24 hours in 950 kB": (endless_flac(86_400), "longer than 30 minutes"),
        "flac: 24 hours, promising nothing": (endless_flac(86_400, promised_s=0), "longer than 30 minutes"),
        "flac: 24 hours, promising 1 s": (endless_flac(86_400, promised_s=1), "more sound than the 48000 samples"),
        "flac: 24 hours, promising 2^36 samples": (
            patched(endless_flac(86_400), 21, b"\xff" * 5),
            "longer than 30 minutes",
        ),
        "flac: 25 minutes of 8 channels": (endless_flac(1_500, channels=8), "more than 30 minutes of two channels"),
        "flac: of unknown length": (promising(0), EXACT),
        "flac: promising 1 s of 3": (promising(RATE_HZ), "more sound than the 16000 samples"),
        "flac: promising one sample less": (promising(3 * RATE_HZ - 1), "more sound than"),
        "flac: promising one sample more": (promising(3 * RATE_HZ + 1), "cut short: 48000 of 48001"),
        "flac: cut": (good[: len(good) // 2], "cut short|damaged"),
        "flac: header only": (good[:42], "cut short|damaged"),
        "flac: four bytes": (good[:4], "damaged"),
        "flac: 0 Hz": (patched(good, 18, bytes([0, 0, good[20] & 0xF])), "damaged|rate of 0 Hz"),
        "flac: blocks of 0": (patched(good, 8, bytes(4)), EXACT),
        "flac: picture of 16 MB": (good[:4] + b"\0" + good[5:42] + b"\x86\xff\xff\xff" + good[42:], "damaged"),
        "flac: 2^32 comments": (
            good[:4] + b"\0" + good[5:42] + b"\x84\0\0\x08" + b"\0" * 4 + b"\xff" * 4,
            "damaged|cut short",
        ),
        "flac: and a zip": (good + zipped("x.py", b"print()"), EXACT),
        "flac: after an ID3 tag": (id3(b"<html>") + good, EXACT),
        "flac: a hole in it": (good[:9_000] + good[10_000:], "damaged|cut short"),
    }


def oggs() -> dict[str, tuple[bytes, str]]:
    opus, vorbis = coded(np.tile(TONE, 3), "OGG", "OPUS"), coded(np.tile(TONE, 3), "OGG", "VORBIS")
    last = opus.rindex(b"OggS")
    middle = opus.index(b"OggS", opus.index(b"OggS", 50) + 50)
    return {
        "ogg: opus": (opus, NEAR),
        "ogg: vorbis": (vorbis, EXACT),
        "ogg: code books of 5 GB in 7 kB": (vorbis_bomb(), "damaged"),
        "ogg: code book that overruns the stack": (vorbis_bomb(1, 20, 4), "damaged"),
        "ogg: cut": (vorbis[:-100], "cut short"),
        "ogg: cut between pages": (opus[:last], NEAR),
        "ogg: promising 2^62 samples": (
            sealed(patched(opus, last + 6, struct.pack("<Q", 2**62))),
            f"{NEAR}|cut short|longer",
        ),
        "ogg: promising -2 samples": (
            sealed(patched(opus, last + 6, struct.pack("<q", -2))),
            f"{NEAR}|damaged|cut short|no s",
        ),
        "ogg: a page is missing": (opus[:middle] + opus[last:], "page .* is missing"),
        "ogg: damaged in the middle": (patched(vorbis, len(vorbis) // 2, b"\0\1\2\3"), "cut short|damaged"),
        "ogg: two streams, one after the other": (opus + patched(opus, 14, b"\7"), "several streams"),
        "ogg: same stream again": (opus + opus, "page .* is missing"),
        "ogg: and a zip": (opus + zipped("x.py", b"print()"), "not Ogg from byte"),
        "ogg: FLAC in it": (
            coded(form="OGG", subtype=None)[:28] + b"\x7fFLAC" + bytes(60),
            "neither Opus nor Vorbis",
        ),
        "ogg: speex": (pages([b"Speex   1.2" + bytes(69), b"x"], [0, 0]), "neither Opus nor Vorbis"),
        "ogg: opus of 255 channels": (sealed(patched(opus, 28 + 9, b"\xff")), "damaged|channels"),
        "ogg: opus from 0 Hz": (sealed(patched(opus, 28 + 12, bytes(4))), f"{NEAR}|damaged|rate"),
        "ogg: opus from 4 GHz": (sealed(patched(opus, 28 + 12, b"\xff" * 4)), f"{NEAR}|damaged|rate"),
        "ogg: four bytes": (b"OggS", "neither Opus nor Vorbis"),
        "ogg: a million empty pages": (
            pages([b"OpusHead" + bytes(11)], [0]) + spam(1_000_000),
            "longer than 30 minutes",
        ),
    }


def spam(count: int) -> bytes:
    """Ogg pages without anything in them."""
    rows = np.zeros(count, dtype=[("head", "S14"), ("serial", "<u4"), ("number", "<u4"), ("end", "V5")])
    rows["head"], rows["serial"], rows["number"] = b"OggS", 1, np.arange(1, count + 1)
    return rows.tobytes()


def id3(text: bytes, size: int | None = None) -> bytes:
    size = len(text) if size is None else size
    return b"ID3\3\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + text


def at_frame(data: bytes, number: int) -> int:
    """Where a frame of an MP3 of libsndfile's begins."""
    return [at for at in range(len(data)) if data[at : at + 2] == data[:2]][number]


def mp3s() -> dict[str, tuple[bytes, str]]:
    good = coded(np.tile(TONE, 3), "MP3")
    mark = max(good.find(b"Xing"), good.find(b"Info"))
    stereo = coded(np.stack([TONE, TONE], axis=1), "MP3")
    return {
        "mp3: page of HTML in its tag": (id3(b"<html><script>alert(1)</script></html>") + good, NEAR),
        "mp3: tag at the end": (good + b"TAG" + bytes(125), NEAR),
        "mp3: tag larger than the file": (id3(b"", 2**28 - 1) + good, "no MP3 frame"),
        "mp3: tag only": (id3(b"<html>"), "no MP3 frame"),
        "mp3: three bytes of a tag": (b"ID3", "no MP3 frame"),
        "mp3: cut": (good[:-30], "cut short"),
        "mp3: cut between frames": (good[: at_frame(good, -3)], "cut short"),
        "mp3: promising 2^32 frames": (patched(good, mark + 8, b"\xff" * 4), "cut short"),
        "mp3: promising 5 frames": (patched(good, mark + 8, b"\0\0\0\5"), "damaged"),
        "mp3: noise in the middle": (good[:1_500] + b"noise" * 100 + good[1_500:], "damaged"),
        "mp3: stereo after mono": (good + stereo, "damaged"),
        "mp3: another rate after": (good + coded(TONE, "MP3", rate_hz=24_000), "damaged"),
        "mp3: and a zip": (good + zipped("x.py", b"print()"), "not MP3 from byte"),
        "mp3: frame of unknown bit rate": (b"\xff\xfb\x00\x00" + bytes(500), "not audio"),
        "mp3: layer II": (b"\xff\xfd\x90\x00" + bytes(5_000), "not audio"),
        "mp3: empty frames, 40 minutes": ((b"\xff\xf3\x18\xc4" + bytes(32)) * 67_000, "longer than 30 minutes"),
    }


def strangers(canary: Path) -> dict[str, tuple[bytes, str]]:
    """What calls itself audio by its name alone."""
    playlists = [
        f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{canary}\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXTINF:1,\nfile://{canary}\n",
        f"#EXTM3U\n#EXTINF:1,\nconcat:{canary}\n",
        f"#EXTM3U\n#EXTINF:1,\nsubfile,,start,0,end,0,,:{canary}\n",
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.wav\n",
        "#EXTM3U\n#EXTINF:1,\ndata:audio/wav;base64,UklGRg==\n",
        f"ffconcat version 1.0\nfile {canary}\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\na=control:file://{canary}\n",
        f"<?xml version='1.0'?><MPD><BaseURL>file://{canary}</BaseURL></MPD>",
        f"[playlist]\nFile1={canary}\n",
    ]
    good = wave(form(), SOUND)
    others = [
        zipped("a.wav", good),
        zipped("../../../a.wav", bytes(2**24)),
        b"\x1f\x8b\x08" + bytes(50),
        b"%PDF-1.7\n",
        b"<html><audio src=x>",
        b"\x7fELF" + bytes(60),
        b"MZ" + bytes(60),
        b"RIFF\x24\0\0\0AVI LIST",
        b"RIFX" + good[4:],
        b"FORM\0\0\0\x20AIFFCOMM",
        b"riff" + bytes(60),
        b"caff\0\1\0\0",
        b".snd" + bytes(40),
        b"#!/bin/sh\nexit 1\n",
        "ⵜⴰⵎⴰⵣⵉⵖⵜ تمازيغت".encode(),
        bytes(5_000),
        b"\xff" * 5_000,
    ]
    found = {
        f"stranger: {text[:20]!r} {number}": (text.encode(), "not audio") for number, text in enumerate(playlists)
    }
    found |= {f"stranger: {data[:8]!r}": (data, "not audio") for data in others}
    found["stranger: nothing"] = (b"", "the file is empty")
    found["stranger: a playlist after a tag"] = (id3(b"x") + playlists[0].encode(), "no MP3 frame")
    return found


def containers(canary: Path) -> dict[str, tuple[bytes, str]]:
    """What ffmpeg is asked for. Without it they are refused all the same, for want of it."""
    want = "damaged|cut short|no sound|no samples|silence|needs ffmpeg"
    playlist = f"#EXTM3U\n#EXTINF:1,\n{canary}\nffconcat version 1.0\nfile {canary}\n".encode()
    found = {
        "mp4: nothing in it": (b"\0\0\0\x20ftypM4A " + bytes(20), want),
        "mp4: and a playlist": (b"\0\0\0\x20ftypM4A " + bytes(20) + playlist, want),
        "mp4: index of 4 GiB": (b"\0\0\0\x10ftypM4A " + bytes(4) + b"\xff\xff\xff\xffmoov" + bytes(99), want),
        "webm: and a playlist": (b"\x1aE\xdf\xa3" + playlist, want),
        "wma: and a playlist": (b"\x30\x26\xb2\x75" + playlist, want),
        "amr: and a playlist": (b"#!AMR\n" + playlist, f"{want}|{NEAR}"),
        "amr: noise": (b"#!AMR\n" + (b"\x3c" + np.random.default_rng(1).bytes(31)) * 50, f"{NEAR}|needs ffmpeg"),
        "amr: 40 minutes": (
            b"#!AMR\n" + (b"\x04" + np.random.default_rng(2).bytes(12)) * 120_000,
            "longer|needs ffmpeg",
        ),
    }
    if not shutil.which("ffmpeg"):
        return found
    for name, options in PHONES.items():
        good = converted(name, *options)
        found[f"{name}: good"] = (good, NEAR)
        found[f"{name}: cut"] = (good[: len(good) // 2], "cut short|damaged")
        found[f"{name}: first 100 bytes"] = (good[:100], want)
    film = ["-f", "lavfi", "-i", "color=s=16x16:d=1", "-c:v", "mpeg4"]
    found["mp4: with a film"] = (converted("mp4", *film, "-c:a", "aac"), NEAR)
    found["mp4: a film alone"] = (converted("mp4", *film, "-map", "1:v"), "no sound")
    found["mp4: AC-3 in it"] = (converted("mp4", "-c:a", "ac3", "-ar", "48000"), "damaged")
    found["mkv: PCM of 64 channels"] = (
        converted("mkv", "-filter:a", "aeval=" + "|".join(["val(0)"] * 64)),
        "64 channels",
    )
    return found


PHONES = {
    "m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "3gp": ["-c:a", "aac"],
    "webm": ["-c:a", "libopus"],
    "mkv": ["-c:a", "pcm_s16le"],
    "wma": ["-c:a", "wmav2"],
}


def converted(suffix: str, *options: str) -> bytes:
    """Three seconds of tone as ffmpeg writes them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.wav").write_bytes(coded(np.tile(TONE, 3)))
        command = ["ffmpeg", "-v", "error", "-i", "in.wav", *options, f"out.{suffix}"]
        subprocess.run(command, cwd=folder, check=True)
        return Path(folder, f"out.{suffix}").read_bytes()
