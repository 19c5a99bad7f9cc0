"""Parts of a file, as players ask for them."""

from collections.abc import Mapping

from starlette.responses import Response


def part(data: bytes, asked: str | None, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    """All of the data, or the range of bytes that a browser asks for (RFC 9110, section 14). `kind`: media type."""
    sent = {"accept-ranges": "bytes", **(headers or {})}
    if not asked or not asked.startswith("bytes=") or "," in asked:
        return Response(data, media_type=kind, headers=sent)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    try:
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    except ValueError:
        return Response(data, media_type=kind, headers=sent)
    if start > end:
        return Response(status_code=416, headers=sent | {"content-range": f"bytes */{len(data)}"})
    sent["content-range"] = f"bytes {start}-{end}/{len(data)}"
    return Response(data[start : end + 1], 206, media_type=kind, headers=sent)
