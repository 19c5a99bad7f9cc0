"""The licence that an adapter may carry: what base, data and consents allow together, or why there is none.

An adapter is treated as made from its base and from its data, as their licences' terms for adapted material say;
whether courts would see it so is open, and this is the careful reading. No legal advice.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from recipes.schema import Family, UserError


@dataclass(frozen=True)
class Licence:
    """What of a licence decides what can be made from a thing that bears it."""

    spdx: str
    sold: bool  # commercial use
    adapted: bool = True  # what is made from it may be published
    alike: bool = False  # but under the same licence only
    named: bool = True  # and with the name of its author

    @property
    def hub(self) -> str:
        """The name by which the hub knows it."""
        return self.spdx.lower()


# By SPDX id (spdx.org/licenses, list 3.28). The order is from open to narrow.
LICENCES = {
    licence.spdx: licence
    for licence in (
        Licence("CC0-1.0", True, named=False),
        Licence("PDDL-1.0", True, named=False),
        Licence("MIT", True),
        Licence("BSD-3-Clause", True),
        Licence("Apache-2.0", True),
        Licence("ODC-By-1.0", True),
        Licence("CC-BY-3.0", True),
        Licence("CC-BY-4.0", True),
        Licence("CC-BY-SA-4.0", True, alike=True),
        Licence("CC-BY-NC-4.0", False),
        Licence("CC-BY-NC-SA-4.0", False, alike=True),
        Licence("CC-BY-ND-4.0", True, adapted=False),
        Licence("CC-BY-NC-ND-4.0", False, adapted=False),
    )
}
# Of the bases that docs/families.md names; anything else needs publish.base_licence.
BASES: dict[str, tuple[Family, str]] = {
    "openai/whisper": ("whisper", "Apache-2.0"),
    "facebook/mms": ("ctc", "CC-BY-NC-4.0"),
    "facebook/w2v-bert": ("ctc", "MIT"),
    "facebook/wav2vec2": ("ctc", "Apache-2.0"),
    "Qwen/Qwen3-ASR": ("qwen3_asr", "Apache-2.0"),
    "mistralai/Voxtral": ("voxtral", "Apache-2.0"),
    "mistralai/Voxtral-4B-TTS": ("voxtral_tts", "CC-BY-NC-4.0"),
    "microsoft/speecht5": ("speecht5", "MIT"),
    "sesame/csm": ("csm", "Apache-2.0"),
    "kyutai/pocket-tts": ("pocket_tts", "CC-BY-4.0"),
    "eustlb/pocket-tts": ("pocket_tts", "CC-BY-4.0"),
    "facebook/mms-tts": ("vits", "CC-BY-NC-4.0"),
}


def of_base(base: str | None, family: Family, stated: str | None) -> Licence | None:
    """The licence of the base's weights; None for a model that began from nothing.

    Raises UserError when it is not known, or not one whose terms are known here.
    """
    if base is None:
        return None
    name = stated or next((spdx for start, (kind, spdx) in BASES.items() if _is(base, start, family, kind)), None)
    if name is None:
        raise UserError(f"the licence of {base} is not known; give publish.base_licence, as its page says it (SPDX)")
    return known(name, "publish.base_licence")


def _is(base: str, start: str, family: Family, kind: Family) -> bool:
    return base.lower().startswith(start.lower()) and family == kind


def known(name: str, key: str) -> Licence:
    """A licence by its SPDX id, in any case. Raises UserError for one whose terms are not known here."""
    for spdx, licence in LICENCES.items():
        if spdx.lower() == name.lower():
            return licence
    raise UserError(f"{key}: {name} is not a licence whose terms are known here: {', '.join(LICENCES)}")


def of_notice(notice: str) -> Licence | None:
    """The licence that a source's notice is, such as `CC BY 4.0`; None for a notice that people agreed to."""
    name = notice.lower().replace(" ", "-")
    return next((licence for spdx, licence in LICENCES.items() if spdx.lower() == name), None)


def resolve(
    base: Licence | None, told: Mapping[str, Collection[str]], unsold: Collection[str], wanted: str | None
) -> Licence:
    """The licence of an adapter: the one that is wanted, or the most open one that all terms allow.

    `told`: notice, or licence of the source → ids of its clips. `unsold`: clips whose speakers do not allow
    commercial use. Raises UserError naming clause and clips when no licence, or not the wanted one, is allowed.
    """
    sources = {f"the base ({base.spdx})": base} if base else {}
    for notice, clips in told.items():
        if licence := of_notice(notice):
            sources[f"{licence.spdx} of {shown(clips)}"] = licence
    for name, licence in sources.items():
        if not licence.adapted:
            raise UserError(f"{name}: its clause ND forbids to publish what is made from it")
    alike = {licence.spdx: name for name, licence in sources.items() if licence.alike}
    if len(alike) > 1:
        raise UserError(f"{' and '.join(alike.values())}: the clause SA of each asks for its own licence")
    unsellable = [name for name, licence in sources.items() if not licence.sold]
    if unsold:
        unsellable.append(f"the consents of {shown(unsold)}, without `commercial`")
    if alike:
        return _same(LICENCES[next(iter(alike))], next(iter(alike.values())), unsellable, wanted)
    found = _most_open(list(sources.values()), bool(unsellable))
    return found if wanted is None else _wanted(known(wanted, "publish.licence"), found, sources, unsellable)


def _wanted(asked: Licence, found: Licence, sources: Mapping[str, Licence], unsellable: Collection[str]) -> Licence:
    """The licence that the recipe asks for. Raises UserError where it allows more than what was found."""
    if asked.sold and unsellable:
        raise UserError(f"publish.licence: {asked.spdx} allows commercial use; {next(iter(unsellable))}: not allowed")
    if found.named and not asked.named:
        raise UserError(f"publish.licence: {asked.spdx} asks for no names, and {_naming(sources)} does")
    return asked


def _same(licence: Licence, name: str, unsellable: Collection[str], wanted: str | None) -> Licence:
    """The licence that a clause SA asks for, where nothing else forbids it."""
    others = [one for one in unsellable if one != name]
    if licence.sold and others:
        raise UserError(f"{name}: its clause SA asks for {licence.spdx}, and {others[0]}: not allowed to be sold")
    if wanted is not None and known(wanted, "publish.licence") != licence:
        raise UserError(f"publish.licence: {wanted}; {name}: its clause SA asks for {licence.spdx}")
    return licence


def _most_open(sources: Collection[Licence], unsellable: bool) -> Licence:
    if unsellable:
        return LICENCES["CC-BY-NC-4.0"]
    if any(licence.spdx.startswith(("CC-BY", "ODC")) for licence in sources):
        return LICENCES["CC-BY-4.0"]
    if any(licence.named for licence in sources):
        return LICENCES["Apache-2.0"]
    return LICENCES["CC-BY-4.0"] if not sources else LICENCES["CC0-1.0"]


def _naming(sources: Mapping[str, Licence]) -> str:
    return next((name for name, licence in sources.items() if licence.named), "this project")


def shown(clips: Collection[str], most: int = 5) -> str:
    """Clips by short ids: `clip 3f5a…` or `7 clips (3f5a…, …)`."""
    short = [f"{name[:12]}…" for name in sorted(clips)]
    if len(short) == 1:
        return f"clip {short[0]}"
    rest = [f"{len(short) - most} more"] if len(short) > most else []
    return f"{len(short)} clips ({', '.join(short[:most] + rest)})"
