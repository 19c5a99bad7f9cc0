"""Consent records as JSON-LD in the W3C Data Privacy Vocabulary (DPV 2), for auditors and other tools.

Structure after "Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV" (W3C Community Group,
2024-08-01): one `dpv:ConsentRecord` a speaker, with every event as a consent status.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from collect.consent import Event, Notice, State

_CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "loc": "https://w3id.org/dpv/loc#",
    "pd": "https://w3id.org/dpv/pd#",
    "dct": "http://purl.org/dc/terms/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "twiza": "https://twiza.invalid/purposes#",
}
_PROFILE = "https://w3id.org/dpv/schema/dpv-27560#record"
_STATUS: dict[State, str] = {
    "requested": "dpv:ConsentRequested",
    "granted": "dpv:ConsentGiven",
    "narrowed": "dpv:ConsentGiven",
    "renewed": "dpv:RenewedConsentGiven",
    "suspended": "dpv:ConsentInvalidated",
    "expired": "dpv:ConsentExpired",
    "withdrawn": "dpv:ConsentWithdrawn",
    "erased": "dpv:ConsentWithdrawn",
}
# What the vocabulary calls our purposes; the exact one is always beside it.
_PURPOSES = {
    "asr_train": "dpv:ResearchAndDevelopment",
    "tts_multi": "dpv:ResearchAndDevelopment",
    "tts_clone": "dpv:ResearchAndDevelopment",
    "listen_test": "dpv:ResearchAndDevelopment",
    "store_prepare": "dpv:ResearchAndDevelopment",
    "profile_data": "dpv:ResearchAndDevelopment",
    "publish_audio": "dpv:NonCommercialPurpose",
    "publish_model": "dpv:NonCommercialPurpose",
    "commercial": "dpv:CommercialPurpose",
    "transfer_abroad": "dpv:ResearchAndDevelopment",
    "voice_match": "dpv:IdentityVerification",
    "recontact": "dpv:CommunicationManagement",
}
_METHOD = {
    "tick": "a box ticked on a screen",
    "signature": "a signature on paper",
    "spoken": "a recorded spoken statement",
    "licence": "the licence of a published corpus",
}


def document(histories: Mapping[str, Sequence[Event]], notices: Mapping[str, Notice]) -> dict[str, Any]:
    """All consent records as one JSON-LD document. `histories`: events by speaker, oldest first."""
    return {"@context": _CONTEXT, "@graph": [record(code, events, notices) for code, events in histories.items()]}


def record(speaker: str, events: Sequence[Event], notices: Mapping[str, Notice]) -> dict[str, Any]:
    """One speaker's consent record, with the fields that ISO/IEC TS 27560:2023 makes mandatory."""
    last = events[-1]
    return {
        "@id": f"urn:twiza:consent:{speaker}",
        "@type": "dpv:ConsentRecord",
        "dct:identifier": speaker,
        "dct:conformsTo": _PROFILE,
        "dct:hasVersion": last.schema_version,
        "dct:created": _time(events[0].recorded or events[0].at),
        "dct:modified": _time(last.recorded or last.at),
        "dpv:hasDataSubject": {
            "@id": f"urn:twiza:speaker:{speaker}",
            "@type": "dpv:Child" if last.adult_on else "dpv:Adult",
        },
        "dpv:hasDataController": {"@type": "dpv:DataController", "dct:title": last.controller},
        "dpv:hasJurisdiction": f"loc:{last.jurisdiction}",
        "dpv:hasLegalBasis": "dpv:ExplicitlyExpressedConsent" if last.basis == "consent" else "dpv:License",
        "dpv:hasProcess": [_process(purpose) for purpose in last.purposes],
        "dpv:hasConsentStatus": [_status(event, notices) for event in events],
    }


def _process(purpose: str) -> dict[str, Any]:
    return {
        "@type": "dpv:Process",
        "dpv:hasPurpose": [f"twiza:{purpose}", _PURPOSES[purpose]],
        "dpv:hasPersonalData": ["pd:Voice" if purpose != "recontact" else "pd:Contact"],
        "dpv:hasProcessing": ["dpv:Store", "dpv:Use"],
    }


def _status(event: Event, notices: Mapping[str, Notice]) -> dict[str, Any]:
    told = notices.get(event.notice)
    notice = {"@type": "dpv:ConsentNotice", "dct:identifier": event.notice}
    if told:
        notice |= {"dct:hasVersion": told.version, "dct:language": told.language}
    found: dict[str, Any] = {
        "@type": _STATUS[event.state],
        "twiza:state": event.state,
        "dpv:isIndicatedAtTime": _time(event.at),
        "dpv:isIndicatedBy": {"self": "dpv:DataSubject", "guardian": "dpv:GuardianOfDataSubject"}.get(
            event.by, "dpv:DataController"
        ),
        "dpv:hasIndicationMethod": _METHOD[event.how],
        "dpv:hasNotice": notice,
        "dpv:hasPurpose": [f"twiza:{purpose}" for purpose in event.purposes],
        "dpv:hasScope": list(event.scope) if event.scope is not None else "all recordings of the speaker",
    }
    if event.language:
        found["dct:language"] = event.language
    if event.expires:
        found["dpv:hasDuration"] = {"@type": "dpv:UntilTimeDuration", "dct:valid": _time(event.expires)}
    if event.evidence:
        found["dpv:hasRecordOfActivity"] = list(event.evidence)
    return found


def _time(moment: Any) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": moment.isoformat()}
