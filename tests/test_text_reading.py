"""A transcript on its way into the dataset, by the recipe's settings; and the inventory of a recipe's text."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from prepare.clip import Reject
from prepare.text import inventory
from prepare.text.reading import read
from recipes.records import Language
from recipes.schema import Prepare, UserError
from tests.babble import babble
from tests.conftest import ROOT


def settings(**text: Any) -> Prepare:
    return Prepare.model_validate({"purpose": "asr_train", "text": text})


def test_a_plain_transcript_comes_through_as_it_did() -> None:
    found = read("فين غادي دابا؟", "ary-Arab", settings())
    assert (found.text, found.normal, found.language, found.flags) == (
        "فين غادي دابا؟",
        "فين غادي دابا",
        "ary-Arab",
        (),
    )


@pytest.mark.parametrize(
    ("language", "text", "chosen", "normal"),
    [
        ("ary-Arab", "شريتو ب25 درهم", {"numbers": "words"}, "شريتو بخمسة وعشرين درهم"),
        ("zgh-Tfng", "ⴳ 2011", {"numbers": "words"}, "ⴳ ⵙⵉⵏ ⵢⵉⴼⴹⵏ ⴷ ⵢⴰⵏ ⴷ ⵎⵔⴰⵡ"),
        ("ary-Latn", "m3a 7:30", {"numbers": "words"}, "m3a sseb3a w ness"),
        ("ary-Arab", "عيط 0612345678", {"personal": "mask"}, "عيط telefon"),
        (
            "ary-Arab",
            "عيط 0612345678",
            {"personal": None, "numbers": "words", "phone_digits": "french"},
            "عيط zéro six douze trente quatre cinquante six soixante dix huit",
        ),
    ],
)
def test_what_a_recipe_can_have_done(language: Language, text: str, chosen: dict[str, Any], normal: str) -> None:
    whole = settings(**chosen).model_copy(update={"min_script_share": 0.0})
    assert read(text, language, whole).normal == normal


@pytest.mark.parametrize(
    ("language", "text", "chosen", "reason"),
    [
        ("ary-Arab", " ", {}, "no transcript yet"),
        ("ary-Arab", "ب25 درهم", {}, "digits in the transcript: write 'ب25' as words"),
        ("ary-Arab", "النسخة 1.2.3", {"numbers": "words"}, "digits in the transcript: write '1' as words"),
        ("ary-Arab", "عيط 0612345678", {}, "personal data: telephone number"),
        ("ary-Arab", "شوف www.a.ma", {}, "link: 'www.a.ma' is not read aloud as it is written"),
        ("ary-Arab", "زوين 🙂", {"emoji": "reject"}, "emoji: 🙂"),
        (
            "ary-Arab",
            "كلمة γένεσις",
            {"foreign_words": "reject"},
            "Greek or Cyrillic word: 'γένεσις', taken as 'genesis'",
        ),
        (
            "ary-Arab",
            "هذا هو الكتاب الذي قرأته",
            {"other_language": "reject"},
            "other language: Modern Standard Arabic, not Darija (هذا, الذي)",
        ),
    ],
)
def test_what_is_rejected_has_a_reason(language: Language, text: str, chosen: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject) as rejected:
        read(text, language, settings(**chosen))
    assert str(rejected.value) == reason
    assert "0612345678" not in str(rejected.value)  # what is personal is not repeated


def test_what_is_flagged_is_kept_with_its_reason() -> None:
    found = read("هذا هو الكتاب الذي قرأته 🙂", "ary-Arab", settings(emoji="flag"))
    assert found.flags == ("other language: Modern Standard Arabic, not Darija (هذا, الذي)", "emoji: 🙂")
    assert found.normal == "هذا هو الكتاب الذي قرأته"


def test_arabizi_becomes_arabic_script_where_every_word_is_sure() -> None:
    found = read("salam, bghit lkhobz w l7lib", "ary-Latn", settings(arabizi="arabic"))
    assert found.language == "ary-Arab" and found.text == "salam, bghit lkhobz w l7lib"
    assert found.normal == "سلام بغيت الخبز و الحليب"
    with pytest.raises(Reject, match=r"unsure Arabizi: 'xqzpt' \(.*python -m prepare.text arabizi"):
        read("bghit xqzpt", "ary-Latn", settings(arabizi="arabic"))


def test_an_inventory_counts_characters_words_and_languages() -> None:
    found = inventory.take([("شفت l'équipe، شفت", "ary-Arab"), ("ⴰⵣⵓⵍ δ", "zgh-Tfng")])
    assert found.texts == 2
    assert found.words["شفت"] == 2 and found.characters["ش"] == 2
    assert found.languages == {"ary": 2, "fra": 1, "zgh": 1}
    assert found.dropped == {"δ": 1}


def test_a_tokenizer_is_asked_what_it_does_not_know() -> None:
    found = inventory.take([("سلام پپپ ڤيلا", "ary-Arab"), ("ⴰⵣⵓⵍ ⴲ", "zgh-Tfng")])
    tokens = inventory.against(found, str(ROOT / "recipes" / "nano_asr"))
    assert "ⴲ" in tokens.proposed and "س" not in tokens.proposed
    assert tokens.unknown_words["ⴲ"] == 1
    said = "\n".join(inventory.lines(found, tokens))
    assert "ⴲ (U+2D32 tifinagh letter yabh) 1" in said and "tokens to add" in said
    assert json.dumps(inventory.as_json(found, tokens))
    with pytest.raises(UserError, match=r"train\.base: the tokenizer of /nowhere cannot be loaded"):
        inventory.against(found, "/nowhere")


def test_the_inventory_of_a_recipe_from_the_command_line(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts = ["سلام عليكم", "فين غادي", "ghadi n9ra lktab", "xqzpt w 7na"]
    lines = [f"{n}.wav,{text},amina,{'ary-Latn' if text.isascii() else 'ary-Arab'}" for n, text in enumerate(texts)]
    (corpus / "metadata.csv").write_text("\n".join(["file,text,speaker,language", *lines]), encoding="utf-8")
    (corpus / "consents.csv").write_text(
        "speaker,purposes,notice,controller,given_on,expires_on,by,how,synthetic\n"
        "amina,store_prepare asr_train,notice 1,us,2026-01-15,,self,spoken,false\n"
    )
    for n in range(len(texts)):
        soundfile.write(corpus / f"{n}.wav", babble(1.0 + n / 10), 16_000)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: t\nwork_dir: work\ncollect: {{source: corpus}}\nprepare: {{purpose: asr_train}}\n"
        f"train: {{family: ctc, base: {ROOT}/recipes/nano_asr}}\n"
    )
    for module in (["collect.ingest"], ["prepare.text", "inventory"], ["prepare.text", "arabizi"]):
        done = subprocess.run(
            [sys.executable, "-m", *module, str(recipe)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "work/prepare/inventory.json").read_text(encoding="utf-8"))
    assert written["inventory"]["texts"] == 4 and written["tokenizer"]["proposed"]
    rows = (tmp_path / "work/prepare/unsure.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "word,times,reading,confidence,others,first in"
    assert any(row.startswith("xqzpt,1,") and row.endswith("3.wav") for row in rows[1:])
