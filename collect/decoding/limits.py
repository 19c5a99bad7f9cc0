"""How much of a stranger's audio comes in, and what is said of the rest."""

CHANNELS = 8  # at most: what the FLAC of the vault holds
_LEAST_HZ, _MOST_HZ = 4_000, 384_000
VALUES_PER_S = 96_000  # two channels at 48 kHz: what a second of the limit may hold in memory


class Refused(Exception):
    """Audio that does not come in. Its text is the reason, on one line."""


def too_large(size: int, max_file_mib: float) -> Refused:
    """The refusal of a file of more bytes than the recipe allows."""
    return Refused(f"{size / 2**20:.0f} MiB; at most {max_file_mib:g} (collect.max_file_mib)")


def too_long(max_minutes: float) -> Refused:
    """The refusal of what is longer than the recipe allows."""
    return Refused(f"longer than {max_minutes:g} minutes (collect.max_minutes)")


def check_shape(rate_hz: int, channels: int) -> None:
    """Raises Refused for a rate or a number of channels that no recording of a voice has."""
    if not _LEAST_HZ <= rate_hz <= _MOST_HZ:
        raise Refused(f"a sampling rate of {rate_hz} Hz; {_LEAST_HZ} to {_MOST_HZ} come in")
    if not 1 <= channels <= CHANNELS:
        raise Refused(f"{channels} channels; 1 to {CHANNELS} come in")


def check_length(frames: int, channels: int, rate_hz: int, max_minutes: float) -> None:
    """Raises Refused when so many samples are over the limit, in time or in memory."""
    if frames > max_minutes * 60 * rate_hz:
        raise too_long(max_minutes)
    if frames * channels > max_minutes * 60 * VALUES_PER_S:
        raise Refused(f"more than {max_minutes:g} minutes of two channels at 48 kHz hold (collect.max_minutes)")


def patience_s(max_minutes: float) -> float:
    """Seconds that the decoding of one file may take: several times what a slow machine needs for the longest."""
    return 30 + 6 * max_minutes
