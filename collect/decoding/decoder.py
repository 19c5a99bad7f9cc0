"""The process in which FLAC, Ogg and MP3 are decoded: no files, no network, bounded memory.

libFLAC, libvorbis, libopus and mpg123 read structures that a stranger wrote, and a few bytes can ask for
gigabytes or end the process: a Vorbis code book of 26 bytes takes 20 MB, and one of 2^20 entries overruns the
stack of libvorbis (both are in tests/hostile.py). Here such a file costs its own refusal and a new process.

`collect.audio` starts it as `python -m collect.decoding.decoder` and keeps it. A job comes in on stdin: one line of
JSON (size, promised, max_minutes) and the bytes. Out on stdout goes one line of JSON: a refusal; or rate,
channels, frames and claimed, followed by the samples as float32.
"""

import atexit
import io
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from collect.decoding.limits import Refused, check_length, check_shape, patience_s

MEMORY_BYTES = 256 * 2**20  # beyond what Python and the file take
_BLOCK = 32_768  # frames


class Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file read from front to back.

    SoundFile seeks after each block: in MP3 that alters samples, and in a FLAC of unknown length it fails.
    """

    def seekable(self) -> bool:
        return False


# ---------------------------------------------------------------- the end that decodes


def main(jobs: BinaryIO, answers: BinaryIO) -> None:
    own_bytes = _shut_in()
    while line := jobs.readline():
        job = json.loads(line)
        if own_bytes:
            _at_most(own_bytes + job["size"] + MEMORY_BYTES)
        work(jobs.read(job["size"]), job["promised"], job["max_minutes"], answers)
        answers.flush()


def work(data: bytes, promised: int, max_minutes: float, answers: BinaryIO) -> None:
    """Answer one job."""
    try:
        figures = measure(data, promised, max_minutes)
    except Refused as reason:
        answers.write(_line({"refused": str(reason)}))
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        said = " ".join(getattr(error, "error_string", str(error)).split()).removeprefix("Error : ")
        answers.write(_line({"refused": f"damaged: {said[:160].rstrip('.') or 'it cannot be decoded'}"}))
    except MemoryError:
        answers.write(_line({"refused": "damaged: it asks for more memory than any recording needs"}))
    else:
        answers.write(_line(figures))
        send(data, figures["frames"], answers)


def _line(answer: Mapping[str, int | str]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def measure(data: bytes, promised: int, max_minutes: float) -> dict[str, int]:
    """Decode to the end, keeping nothing: rate, channels, frames counted, frames that libsndfile claims.

    With a promise no more is read than that, and one frame after it to see whether the promise lied.
    """
    with Forward(io.BytesIO(data)) as file:
        check_shape(file.samplerate, file.channels)
        block = np.empty((_BLOCK, file.channels), np.float32)
        frames = 0
        while wanted := min(_BLOCK, promised - frames) if promised else _BLOCK:
            frames += (got := len(file.read(wanted, out=block[:wanted])))
            check_length(frames, file.channels, file.samplerate, max_minutes)
            if not got:
                break
        if promised and frames == promised and _more(file):
            raise Refused(f"damaged: more sound than the {promised} samples it promises")
        return {"rate_hz": file.samplerate, "channels": file.channels, "frames": frames, "claimed": file.frames}


def send(data: bytes, frames: int, answers: BinaryIO) -> None:
    """Decode again, and pass on what was counted."""
    with Forward(io.BytesIO(data)) as file:
        block = np.empty((_BLOCK, file.channels), np.float32)
        while frames:
            got = file.read(min(_BLOCK, frames), out=block[: min(_BLOCK, frames)])
            if not len(got):
                sys.exit("the second decoding is not the first")
            answers.write(got.tobytes())
            frames -= len(got)


def _more(file: Forward) -> bool:
    """Whether sound follows. Bytes that are none (a tag, a zip) are an error of the decoder, and no sound."""
    try:
        return len(file.read(1, out=np.empty((1, file.channels), np.float32))) > 0
    except soundfile.SoundFileError:
        return False


def _at_most(memory_bytes: int) -> None:
    """Limit the memory, within a limit that is already set."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _shut_in() -> int:
    """Give up opening files and sockets, writing files and leaving a core. Returns the memory in use, or 0.

    What is open stays open: the pipes to the process that sends the jobs.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            own_bytes = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux: no limit of memory is kept there either
        own_bytes = 0
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    return own_bytes


# ---------------------------------------------------------------- the end that asks


class Child:
    """The decoding process: started when first needed, anew after it died, stopped with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # a fork of this process must not share its pipes: it would get another's sound

    def ask(
        self, head: bytes, data: bytes, promised: int, max_minutes: float
    ) -> tuple[dict[str, int], NDArray[np.float32]]:
        """The child's figures and the samples of `data` with its first bytes replaced by `head`."""
        with self._lock:
            process = self._running()
            clock = threading.Timer(patience_s(max_minutes), process.kill)
            clock.start()
            whole = False
            try:
                answer, samples = _exchange(process, head, data, promised, max_minutes)
                whole = True
            except (OSError, ValueError, LookupError, TypeError):  # what it says is not believed either
                raise Refused(f"damaged: it stopped the decoder, or took over {clock.interval:g} s") from None
            finally:
                clock.cancel()
                if not whole:
                    self.stop()
        if "refused" in answer:
            raise Refused(str(answer["refused"]))
        return answer, samples

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.stop()
            kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "collect.decoding.decoder"],
                cwd=Path(__file__).parents[2],
                env={**kept, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
        return self._process

    def stop(self) -> None:
        """End the process, if it is this one's."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


def _exchange(
    process: subprocess.Popen[bytes], head: bytes, data: bytes, promised: int, max_minutes: float
) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Send a job and read the answer to its last byte. Raises OSError or ValueError when the child died."""
    assert process.stdin and process.stdout
    job = {"size": len(data), "promised": promised, "max_minutes": max_minutes}
    process.stdin.write(json.dumps(job).encode() + b"\n" + head)
    process.stdin.write(memoryview(data)[len(head) :])
    process.stdin.flush()
    answer = json.loads(process.stdout.readline(4_096))
    if "refused" in answer:
        return answer, np.empty((0, 1), np.float32)
    check_shape(answer["rate_hz"], answer["channels"])
    check_length(answer["frames"], answer["channels"], answer["rate_hz"], max_minutes)
    samples = np.empty((answer["frames"], answer["channels"]), np.float32)
    _fill(process.stdout, samples.reshape(-1).view(np.uint8).data)
    return answer, samples


def _fill(pipe: IO[bytes], room: memoryview) -> None:
    while len(room):
        got = pipe.readinto(room)  # type: ignore[attr-defined]
        if not got:
            raise ValueError("the child died")
        room = room[got:]


child = Child()
atexit.register(child.stop)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
