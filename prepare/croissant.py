"""The dataset's description for machines: Croissant 1.0 with the vocabulary for responsible AI (RAI 1.0).

Sources: docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prepare.card import COLUMNS, About
from recipes.provenance import file_digest

CONFORMS_TO = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
# The specification's own context, word by word: readers compare with it.
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {"audio": "sc:AudioObject", "rate_hz": "sc:Integer", "duration_s": "sc:Float"}
_NESTED = ("words", "quality", "purposes", "flags")  # lists and structures, described by the card
_FILES = "parquet-files"


def describe(about: About, folder: Path) -> dict[str, Any]:
    """The description of an exported dataset, whose files lie in `folder`."""
    files = sorted((folder / "data").glob("*.parquet"))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": about.recipe.name,
        "description": about.summary,
        "license": _licence(about),
        "citeAs": f"{about.recipe.name}, {about.made.created.year}. {about.summary} Dataset {about.version}.",
        "version": f"1.0.0+{about.version[:12]}",
        "datePublished": about.made.created.date().isoformat(),
        "inLanguage": about.languages,
        "creator": [{"@type": "sc:Organization", "name": name} for name in about.terms.controllers],
        "keywords": ["speech", "Morocco", *about.languages],
        "isLiveDataset": True,
        **_responsible(about),
        "distribution": [_file_set(), *(_file(path) for path in files)],
        "recordSet": [_rows()],
    }


def changed_files(folder: Path, described: Mapping[str, Any]) -> list[str]:
    """The files of an export that are not as it describes them, or are not there."""
    found = []
    for part in described["distribution"]:
        if "sha256" in part:
            path = folder / part["contentUrl"]
            if not path.is_file() or file_digest(path) != part["sha256"]:
                found.append(part["contentUrl"])
    known = {part.get("contentUrl") for part in described["distribution"]}
    found += [f"data/{path.name}" for path in sorted((folder / "data").glob("*")) if f"data/{path.name}" not in known]
    return found


def _licence(about: About) -> str:
    name = about.terms.licence
    if name == "other":
        return f"Consents of the speakers; all of them allow: {', '.join(about.terms.purposes) or 'nothing'}"
    return name.upper()


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": f"data/{path.name}",
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file_digest(path),
    }


def _file_set() -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": _FILES,
        "name": _FILES,
        "description": "The rows, in files by split.",
        "encodingFormat": "application/x-parquet",
        "includes": "data/*.parquet",
    }


def _rows() -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"utterances/{name}",
            "name": name,
            "description": what,
            "dataType": _TYPES.get(name, "sc:Text"),
            "source": {
                "fileSet": {"@id": _FILES},
                "extract": {"column": name},
                **({"transform": {"jsonPath": "bytes"}} if name == "audio" else {}),
            },
        }
        for name, what in COLUMNS.items()
        if name not in _NESTED
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "utterances",
        "name": "utterances",
        "description": "One row an utterance.",
        "key": {"@id": "utterances/id"},
        "field": fields,
    }


def _responsible(about: About) -> dict[str, Any]:
    """The RAI fields: how the data came about, what they are for and what they cannot show."""
    allowed = ", ".join(about.terms.purposes) or "nothing"
    return {
        "rai:dataCollection": "Recordings of people who gave consent purpose by purpose, kept in a chain of consent "
        f"events; speakers were told: {'; '.join(about.terms.notices)}.",
        "rai:dataCollectionType": ["Others"],
        "rai:dataCollectionMissingData": "Facts about speakers are there only where they gave them, allow their use, "
        f"and at least {about.recipe.collect.coverage.min_speakers} speakers share them.",
        "rai:dataAnnotationProtocol": "Transcripts are the prompts that were read, or were written by annotators.",
        "rai:dataPreprocessingProtocol": [
            f"Resampled to {about.recipe.prepare.rate_hz} Hz mono, trimmed to speech, loudness normalised (BS.1770).",
            "Transcripts brought to one written form per language and script; unusable ones rejected with a reason.",
        ],
        "rai:dataUseCases": f"Every speaker allows: {allowed}. Other uses are not covered by the consents.",
        "rai:dataLimitations": "Few speakers and one way of recording do not show how all people speak; spelling has "
        "no one standard.",
        "rai:dataBiases": "Shares of dialects, genders and ages are those of who took part: see README.md.",
        "rai:personalSensitiveInformation": [
            "Voices identify people, though codes stand for their names.",
            *(f"{fact.capitalize()}, where given." for fact in ("gender", "age band", "region and dialect")),
        ],
        "rai:dataSocialImpact": "Speech technology for languages that have little; voices could be imitated, which "
        "speakers must allow by themselves (tts_clone).",
        "rai:dataReleaseMaintenancePlan": "When a consent is taken back, the dataset is published anew without those "
        "recordings and older versions are removed.",
    }
