"""What a file of synthetic speech says of itself: a comment, a signed manifest (C2PA), a watermark."""

import io
import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate import audioseal, credentials, marked, marks, perth, watermark
from recipes.schema import Recipe, RecipeError, UserError, load
from tests.babble import babble
from tests.conftest import ROOT, needs
from train.adapter import resampled

WEIGHTS = "ab" * 32
SAID = f"Synthetic speech, made by a machine; no person said this. marked, adapter {WEIGHTS}"


def recipe_in(folder: Path, **marking: Any) -> Recipe:
    (folder / "recipe.yaml").write_text(
        "name: marked\nwork_dir: work\ncollect: {source: s}\nprepare: {purpose: tts_clone}\n"
        f"train: {{family: speecht5, base: microsoft/speecht5_tts}}\nevaluate: {{marking: {json.dumps(marking)}}}\n",
        encoding="utf-8",
    )
    return load(folder / "recipe.yaml")


def speech(seconds: float = 2.0) -> watermark.Samples:
    return np.asarray(0.5 * babble(seconds), np.float32)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[marked.Marks, dict[str, bytes]]:
    """One phrase as each kind of file, signed."""
    if not credentials.installed():
        pytest.skip("needs c2pa: pip install c2pa-python==0.38.1")
    found = marked.Marks.of(recipe_in(tmp_path_factory.mktemp("marks")))
    return found, {kind: found.file(speech(), 16_000, kind, WEIGHTS) for kind in ("wav", "mp3", "flac", "opus")}


# ---------------------------------------------------------------- the manifest


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac"])
def test_a_manifest_says_what_made_the_speech_and_names_nobody(
    signed: tuple[marked.Marks, dict[str, bytes]], kind: str
) -> None:
    found = credentials.read(signed[1][kind])
    assert found and found.state == "Valid" and found.faults == ()
    action = found.actions[0]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert action["softwareAgent"]["name"] == "Twiza"
    base = {"adapter": WEIGHTS, "base": "microsoft/speecht5_tts", "recipe": "marked", "watermark": "none"}
    assert found.synthesis == base
    assert found.signer == "Twiza, a self-made certificate, synthetic speech"


def test_the_version_in_the_manifest_is_that_of_the_workbench() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert credentials.TWIZA["version"] == project["version"]


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "opus"])
def test_players_find_sound_and_comment_beside_the_manifest(
    signed: tuple[marked.Marks, dict[str, bytes]], kind: str
) -> None:
    with soundfile.SoundFile(io.BytesIO(signed[1][kind])) as file:
        assert file.comment == SAID and len(file.read()) >= 32_000
    assert marks.comment(signed[1][kind]) == SAID


def test_opus_has_no_place_for_a_manifest_and_the_table_says_so(
    signed: tuple[marked.Marks, dict[str, bytes]],
) -> None:
    assert credentials.read(signed[1]["opus"]) is None
    told = signed[0].told(["wav", "opus"])
    assert (told["c2pa"], told["without_c2pa"], told["comment"]) == (["wav"], ["opus"], ["wav", "opus"])
    assert told["c2pa_certificate_sha256"] == signed[0].signer.fingerprint  # type: ignore[union-attr]


def test_a_manifest_survives_a_copy(
    signed: tuple[marked.Marks, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.wav").write_bytes(signed[1]["wav"])
    shutil.copy(tmp_path / "one.wav", tmp_path / "two.wav")
    assert marks.main([str(tmp_path / "two.wav")]) == 0
    out = capsys.readouterr().out
    for line in (
        f"comment:   {SAID}",
        "manifest:  holds, by an unknown signer",
        "c2pa.created: trainedAlgorithmicMedia, by Twiza 0.1.0",
        f"adapter: {WEIGHTS}",
    ):
        assert line in out


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["wav", "mp3", "flac"]), where=st.floats(0.3, 0.7), bit=st.integers(0, 7))
def test_one_altered_bit_of_the_sound_and_it_does_not_hold(
    signed: tuple[marked.Marks, dict[str, bytes]], kind: str, where: float, bit: int
) -> None:
    data = bytearray(signed[1][kind])
    at = round(where * len(data)) if kind != "mp3" else round((0.8 + 0.2 * where) * len(data))
    data[at] ^= 1 << bit
    try:
        found = credentials.read(bytes(data))
        assert found is not None and not found.whole
    except UserError:
        pass  # the manifest itself can no longer be read


def test_the_reader_exits_with_1_where_the_sound_was_altered(
    signed: tuple[marked.Marks, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(signed[1]["wav"])
    data[len(data) // 2] ^= 1
    (tmp_path / "altered.wav").write_bytes(data)
    (tmp_path / "whole.wav").write_bytes(signed[1]["wav"])
    assert marks.main([str(tmp_path / "whole.wav"), str(tmp_path / "altered.wav")]) == 1
    assert "DOES NOT HOLD: assertion.dataHash.mismatch" in capsys.readouterr().out


@needs("ffmpeg")
@pytest.mark.parametrize(("kind", "to"), [("wav", "mp3"), ("mp3", "wav"), ("flac", "wav")])
def test_converting_loses_the_manifest_and_the_reader_says_so(
    signed: tuple[marked.Marks, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    to: str,
) -> None:
    before, after = tmp_path / f"before.{kind}", tmp_path / f"after.{to}"
    before.write_bytes(signed[1][kind])
    subprocess.run(["ffmpeg", "-v", "error", "-f", kind, "-i", str(before), str(after)], check=True)
    assert marks.main([str(after)]) == 0
    assert "manifest:  none: never signed, or lost where the file was converted" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"RIFF", b"no sound at all", b"ID3" + bytes(40)])
def test_a_file_that_is_no_sound_has_nothing_to_say(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(data)
    marks.main([str(tmp_path / "x.wav")])  # no traceback
    assert marks.main([str(tmp_path / "missing.wav")]) == 1


# ---------------------------------------------------------------- who signs


@needs("c2pa")
def test_the_own_certificate_is_made_once_and_its_key_is_its_owners_alone(tmp_path: Path) -> None:
    one, again = credentials.own(tmp_path / "keys"), credentials.own(tmp_path / "keys")
    assert one == again
    assert (tmp_path / "keys" / "c2pa.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["c2pa-ca.pem", "c2pa.key", "c2pa.pem"]
    (tmp_path / "keys" / "c2pa.key").chmod(0o644)
    with pytest.raises(UserError, match="others can read this key; run: chmod 600"):
        credentials.own(tmp_path / "keys")


def test_who_believes_the_authority_sees_a_trusted_signer(
    signed: tuple[marked.Marks, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = next(signed[0].recipe.work_dir.parent.rglob("c2pa-ca.pem"))
    (tmp_path / "one.wav").write_bytes(signed[1]["wav"])
    assert marks.main([str(tmp_path / "one.wav"), "--trust", str(authority)]) == 0
    assert "holds, by a signer that you trust" in capsys.readouterr().out


def certificate(
    folder: Path, days: int = 30, use: str = "1.3.6.1.5.5.7.3.4", key: Any = None, named: str = "ours"
) -> dict[str, str]:
    """A certificate of an authority, as an office would get one; `use`: protection of e-mail."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "A commune")])
    now = datetime.now(UTC)
    bits = {bit: bit == "digital_signature" for bit in credentials._USES}
    made = (
        x509.CertificateBuilder(name, name, own.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.KeyUsage(**bits), True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(use)]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
        .sign(authority, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{named}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{named}.key").write_bytes(own.private_bytes(*form))
    (folder / f"{named}.key").chmod(0o600)
    return {"certificate": f"{named}.pem", "key": f"{named}.key"}


@needs("c2pa")
@pytest.mark.parametrize(
    "make", [lambda: ec.generate_private_key(ec.SECP384R1()), lambda: rsa.generate_private_key(65537, 2048)]
)
def test_an_offices_own_certificate_signs(tmp_path: Path, make: Any) -> None:
    found = marked.Marks.of(recipe_in(tmp_path, **certificate(tmp_path, key=make())))
    read = credentials.read(found.file(speech(), 16_000, "wav", WEIGHTS))
    assert read and read.whole and read.signer == "A commune"
    assert "by your certificate" in str(found)


@needs("c2pa")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"days": -1}, "ended on"),
        ({"use": "1.3.6.1.5.5.7.3.1"}, "C2PA refuses the certificate"),  # a web server's
        ({"key": ec.generate_private_key(ec.SECP256K1())}, "a kind of key that C2PA does not know"),
    ],
)
def test_a_certificate_that_is_not_fit_is_refused_at_the_start(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        marked.Marks.of(recipe_in(tmp_path, **certificate(tmp_path, **changes)))


@needs("c2pa")
def test_another_certificates_key_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    one, other = certificate(tmp_path), certificate(tmp_path, named="theirs")
    with pytest.raises(UserError, match="not the key of the certificate"):
        marked.Marks.of(recipe_in(tmp_path, certificate=one["certificate"], key=other["key"]))
    with pytest.raises(UserError, match="No such file"):
        marked.Marks.of(recipe_in(tmp_path, certificate="gone.pem", key=one["key"]))
    (tmp_path / "ours.pem").write_text("hello")
    with pytest.raises(UserError, match="not a certificate chain and a private key in PEM"):
        marked.Marks.of(recipe_in(tmp_path, **one))


def test_without_the_package_files_are_not_signed_and_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(credentials, "find_spec", lambda name: None)
    found = marked.Marks.of(recipe_in(tmp_path))
    assert (
        str(found) == "files are not signed: no c2pa-python here (pip install c2pa-python==0.38.1); watermark: none"
    )
    (tmp_path / "one.wav").write_bytes(found.file(speech(), 16_000, "wav", WEIGHTS))
    assert marks.main([str(tmp_path / "one.wav")]) == 0
    assert "manifest:  not looked for: pip install" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"evaluate\.marking\.provenance: no c2pa-python here"):
        marked.Marks.of(recipe_in(tmp_path, provenance="required"))


def test_off_signs_nothing_and_makes_no_key(tmp_path: Path) -> None:
    found = marked.Marks.of(recipe_in(tmp_path, provenance="off"))
    assert found.signer is None and found.identity == "" and not list(tmp_path.rglob("c2pa*"))


@pytest.mark.parametrize(
    ("marking", "told"),
    [
        ({"certificate": "a.pem"}, "give `certificate` and its `key`"),
        ({"watermark": "audioseal"}, "`weights` are those of `watermark: audioseal`"),
        ({"watermark": "perth", "weights": "w"}, "`weights` are those of `watermark: audioseal`"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path: Path, marking: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe_in(tmp_path, **marking)


# ---------------------------------------------------------------- the watermark


@needs("perth")
@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100])
def test_perth_is_heard_where_it_is_and_not_where_it_is_not(rate_hz: int) -> None:
    clean = resampled(speech(3), 16_000, rate_hz)
    with_it = watermark.embed(clean, rate_hz, "perth")
    assert with_it.shape == clean.shape and with_it.dtype == np.float32
    assert watermark.detect(with_it, rate_hz, "perth") > watermark.THRESHOLD
    assert watermark.detect(clean, rate_hz, "perth") < watermark.THRESHOLD


@needs("perth")
def test_perth_leaves_what_is_above_2_khz_and_digital_silence() -> None:
    clean = np.concatenate([np.zeros(8_000, np.float32), speech(2)])
    added = watermark.embed(clean, 16_000, "perth") - clean
    power = np.abs(np.fft.rfft(added)) ** 2
    assert power[round(len(power) * 2_200 / 8_000) :].sum() < 1e-3 * power.sum()
    assert np.abs(added[:6_000]).max() < 1e-4
    for nothing in (np.zeros(0, np.float32), np.zeros(5_000, np.float32)):
        assert np.abs(watermark.embed(nothing, 16_000, "perth")).max(initial=0) < 1e-4
        assert watermark.detect(nothing, 16_000, "perth") == 0


@needs("perth")
def test_a_recipe_that_asks_for_a_watermark_gets_it_into_file_and_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = marked.Marks.of(recipe_in(tmp_path, watermark="perth"))
    path = tmp_path / "one.flac"
    path.write_bytes(found.file(found.speech(speech(3), 16_000), 16_000, "flac", WEIGHTS))
    assert marks.main([str(path)]) == 0
    out = capsys.readouterr().out
    assert "watermark: perth heard (" in out and (found.signer is None or "watermark: perth\n" in out)
    assert found.told(["wav"])["watermark"] == "perth" and "perth" in found.identity


def test_without_perth_or_with_other_weights_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perth.file.cache_clear()
    monkeypatch.setattr(perth, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"no Perth here; pip install resemble-perth==1\.0\.1"):
        marked.Marks.of(recipe_in(tmp_path, watermark="perth"))
    folder = tmp_path / "perth_net" / "pretrained" / "implicit"
    folder.mkdir(parents=True)
    (folder / "perth_net_250000.pth.tar").write_bytes(b"a pickle that runs something")
    monkeypatch.setattr(
        perth, "find_spec", lambda name: type("", (), {"submodule_search_locations": [str(tmp_path)]})
    )
    with pytest.raises(UserError, match=r"not the weights of resemble-perth 1\.0\.1; they are not read"):
        perth.file()


@pytest.fixture
def networks() -> Iterator[None]:
    audioseal._network.cache_clear()
    yield
    audioseal._network.cache_clear()


@pytest.mark.usefixtures("networks")
def test_audioseal_without_its_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audioseal, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="no AudioSeal here; pip install"):
        marked.Marks.of(recipe_in(tmp_path, watermark="audioseal", weights="weights"))


@needs("audioseal")
@pytest.mark.slow
@pytest.mark.usefixtures("networks")
def test_audioseal_reads_tensors_and_nothing_else(tmp_path: Path) -> None:
    """With weights drawn at random: what is tested is that they are read whole, and that sound comes out."""
    import torch
    from audioseal import AudioSeal, builder
    from audioseal.loader import load_local_model_config
    from safetensors.torch import save_file

    class Runs:
        def __reduce__(self) -> Any:
            return print, ("executed",)

    with pytest.raises(UserError, match=r"no generator_base\.safetensors and no generator_base\.pth"):
        audioseal.generator(tmp_path)
    torch.save({"model": Runs()}, tmp_path / "generator_base.pth")
    with pytest.raises(UserError, match="holds more than tensors, and is not read"):
        audioseal.generator(tmp_path)
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "generator_base.pth")
    with pytest.raises(UserError, match="not the weights of AudioSeal's generator"):
        audioseal.generator(tmp_path)
    for which, card, shape in (
        ("generator", "audioseal_wm_16bits", builder.AudioSealWMConfig),
        ("detector", "audioseal_detector_16bits", builder.AudioSealDetectorConfig),
    ):
        config = AudioSeal.parse_config(load_local_model_config(card), config_type=shape)
        drawn = getattr(builder, f"create_{which}")(config).state_dict()
        # Published under the names that came before the package's last change.
        save_file(
            {key.replace("inner_conv.", ""): value for key, value in drawn.items()},
            tmp_path / f"{which}_base.safetensors",
        )
    clean = speech(0.2)
    made = watermark.embed(clean, 24_000, "audioseal", tmp_path)
    assert made.shape == clean.shape and np.isfinite(made).all() and (made != clean).any()
    assert 0 <= watermark.detect(made, 24_000, "audioseal", tmp_path) <= 1
