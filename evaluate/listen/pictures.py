"""Pictures as answers, so that whoever does not read can say what they understood."""

import io
import warnings
from pathlib import Path

from recipes.schema import Listen, Picture, UserError

_MOST_BYTES = 4 * 2**20
_MOST_PIXELS = 30_000_000
_SIDE = 480


def pictures(asked: Listen) -> dict[tuple[int, int], bytes]:
    """The recipe's pictures as they are sent, by question and choice (from 1). Raises UserError for one that is none.

    Nothing of a file reaches the browser but what is seen: it is drawn anew, on white, 480 by 480 pixels, as JPEG.
    """
    return {
        (number, place): redrawn(choice.picture)
        for number, question in enumerate(asked.comprehension)
        for place, choice in enumerate(question.choices, 1)
        if isinstance(choice, Picture)
    }


def redrawn(path: Path) -> bytes:
    """A PNG or JPEG as a square JPEG without anything else that was in it. Raises UserError."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _fault(path, f"over {_MOST_BYTES // 2**20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as found:
                if found.width * found.height > _MOST_PIXELS:
                    raise _fault(path, f"{found.width} by {found.height} pixels; at most 30 million")
                seen = ImageOps.contain(ImageOps.exif_transpose(found).convert("RGBA"), (_SIDE, _SIDE))
    except UnidentifiedImageError:
        raise _fault(path, "no PNG or JPEG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _fault(path, " ".join(str(getattr(error, "strerror", None) or error).split())) from None
    paper = Image.new("RGB", (_SIDE, _SIDE), "white")
    paper.paste(seen, ((_SIDE - seen.width) // 2, (_SIDE - seen.height) // 2), seen)
    out = io.BytesIO()
    paper.save(out, "JPEG", quality=85)
    return out.getvalue()


def _fault(path: Path, why: str) -> UserError:
    return UserError(f"{path}: {why} (evaluate.listen.comprehension)")
