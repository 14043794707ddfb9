# SPDX-License-Identifier: GPL-3.0-or-later
"""Provenance inside files, signed and read by the real C2PA library."""

import contextlib
import datetime as dt
import io
import json
import socket
from hashlib import sha256

import c2pa as library
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from sealtrail import c2pa

pytestmark = pytest.mark.once


def _digest(data):
    return f"sha256:{sha256(data).hexdigest()}"


_PEM = serialization.Encoding.PEM


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files with a house's own chain, its key and the root above, as an authority gives them."""
    folder = tmp_path_factory.mktemp("certificate")
    root, issuing, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    above = _certificate("Acme root", root, "Acme root", root, ca=True)
    between = _certificate("Acme issuing", issuing, "Acme root", root, ca=True)
    leaf = _certificate("Acme pictures", own, "Acme issuing", issuing, ca=False)
    (folder / "chain.pem").write_bytes(leaf + between)
    (folder / "root.pem").write_bytes(above)
    key = own.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key)
    return folder


def _certificate(name, key, issuer, issuing, *, ca):
    now = dt.datetime.now(dt.UTC)
    house = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")
    subject, above = (
        x509.Name([house, x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)
    )
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    usage |= {"digital_signature": True, "key_cert_sign": ca, "crl_sign": ca}
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        .add_extension(x509.KeyUsage(**usage), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), False
        )
    )
    if not ca:
        mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(mail, False)
    return made.sign(issuing, hashes.SHA256()).public_bytes(_PEM)


@pytest.fixture
def signer(certificate):
    made = c2pa.signer(certificate / "chain.pem", certificate / "key.pem")
    yield made
    made.close()


def _picture(kind="PNG", color=(200, 30, 60)):
    out = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(out, format=kind)
    return out.getvalue()


def _store(signed, mime):
    """The manifest's bytes as they lie in a file, found without our code."""
    with library.Reader(mime, io.BytesIO(signed)) as reader:
        out = io.BytesIO()
        reader.resource_to_stream(json.loads(reader.json())["active_manifest"], out)
    return out.getvalue()


@pytest.fixture
def receipt(trail):
    with trail.acting_for("emp-7"), trail.gen(model="acme/painter@3", prompt="x") as call:
        call.output(_picture())
    return call.receipt


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_points_back_to_its_entry(kind, receipt, signer):
    """Event, log and leaf, under the house's own signature; the picture is the same one."""
    before = _picture(kind)
    signed = c2pa.pointing(before, to=receipt, signer=signer)
    found = c2pa.read(signed)
    assert found.state == "Valid"
    assert found.entry == {
        "event_id": receipt.event_id,
        "log_origin": receipt.origin,
        "leaf_hash": f"sha256:{receipt.leaf.hex()}",
    }
    assert found.source_type == c2pa.TRAINED
    with Image.open(io.BytesIO(before)) as one, Image.open(io.BytesIO(signed)) as two:
        assert one.tobytes() == two.tobytes()


def test_the_digest_is_that_of_the_bytes_in_the_file(receipt, signer):
    signed = c2pa.pointing(_picture(), to=receipt, signer=signer)
    store = _store(signed, "image/png")
    assert store in signed
    assert c2pa.read(signed).digest == _digest(store)


def test_a_changed_picture_does_not_hold(receipt, signer):
    """One bit of the picture: the manifest is there, and its hashes contradict the bytes."""
    signed = bytearray(c2pa.pointing(_picture(), to=receipt, signer=signer))
    signed[-20] ^= 1
    found = c2pa.read(bytes(signed))
    assert (found.state, found.holds) == ("Invalid", False)
    assert c2pa.marking(bytes(signed)) == {}


def test_whose_certificates_are_believed_is_a_setting(receipt, signer, certificate):
    """Without roots a manifest holds or does not; with them it is somebody's, too."""
    signed = c2pa.pointing(_picture(), to=receipt, signer=signer)
    roots = {"trust": {"trust_anchors": (certificate / "root.pem").read_text()}}
    assert c2pa.read(signed).state == "Valid"
    assert c2pa.read(signed, settings=roots).state == "Trusted"


def test_a_file_does_not_choose_whom_we_call(signer):
    """A manifest that lies under an address: nobody asks there, and the file counts as without."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.3)
        manifest = {"claim_generator_info": [{"name": "theirs"}], "assertions": []}
        out = io.BytesIO()
        with library.Builder(manifest) as builder:
            builder.set_intent(
                library.C2paBuilderIntent.CREATE,
                library.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA,
            )
            builder.set_no_embed()
            builder.set_remote_url(f"http://127.0.0.1:{listening.getsockname()[1]}/manifest")
            builder.sign(signer, "image/png", io.BytesIO(_picture()), out)
        assert b"/manifest" in out.getvalue()
        found = c2pa.read(out.getvalue())
        with contextlib.suppress(TimeoutError):
            asked.append(listening.accept())
    assert asked == []
    assert found is None or not found.holds


def test_a_manifest_that_was_there_stays_as_the_parent(receipt, signer):
    """Somebody else's provenance is not thrown away by ours."""
    first = c2pa.pointing(_picture(), to=receipt, signer=signer, title="theirs")
    second = c2pa.pointing(first, to=receipt, signer=signer, title="ours")
    with library.Reader("image/png", io.BytesIO(second)) as reader:
        told = json.loads(reader.json())
    assert len(told["manifests"]) == 2
    active = told["manifests"][told["active_manifest"]]
    assert [one["relationship"] for one in active["ingredients"]] == ["parentOf"]
    assert c2pa.read(second).state == "Valid"


def test_what_comes_in_is_recorded_with_what_it_says_of_itself(
    trail, recorded, receipt, signer, tmp_path
):
    """A file with a manifest, one without, and one that can have none."""
    signed = c2pa.pointing(_picture(), to=receipt, signer=signer)
    (tmp_path / "signed.png").write_bytes(signed)
    with trail.acting_for("emp-7"):
        trail.ingest(str(tmp_path / "signed.png"), rights="owned", c2pa=True)
        trail.ingest(_picture(), rights="owned", c2pa=True)
        trail.ingest(b"plain", rights="owned", c2pa=True)
        list(trail.ingesting([tmp_path / "signed.png"], rights="owned", c2pa=True))
    ingested = [entry["body"]["c2pa"] for entry in recorded.entries if entry["type"] == "INGEST"]
    told = {
        "active_manifest_digest": _digest(_store(signed, "image/png")),
        "validation_state": "Valid",
        "digital_source_type": c2pa.TRAINED,
    }
    assert ingested == [told, {"validation_state": "none"}, {"validation_state": "none"}, told]


def test_a_digest_cannot_be_looked_into(trail):
    """To say that it has no manifest would say that somebody looked."""
    with pytest.raises(TypeError, match="digest"), trail.acting_for("emp-7"):
        trail.ingest("sha256:" + "1" * 64, rights="owned", c2pa=True)


def test_what_leaves_is_recorded_with_whether_it_is_marked(trail, recorded, receipt, signer):
    signed = c2pa.pointing(_picture(), to=receipt, signer=signer)
    with trail.acting_for("emp-7"):
        asset_id = recorded.entries[1]["body"]["outputs"][0]["asset_id"]
        trail.export(signed, asset_id=asset_id, to="cdn", c2pa=True)
        trail.export(_picture(), asset_id=asset_id, to="cdn", c2pa=True)
    marked, bare = [entry["body"] for entry in recorded.entries if entry["type"] == "EXPORT"]
    assert (marked["includes_provenance"], marked["marking_verified"]["c2pa"]) == (True, True)
    assert (bare["includes_provenance"], bare["marking_verified"]["c2pa"]) == (False, False)


def test_an_outcome_says_how_its_picture_is_marked(trail, recorded, receipt, signer):
    """A model whose pictures come with a manifest: its digest stands in the GEN."""
    signed = c2pa.pointing(_picture(), to=receipt, signer=signer)
    with trail.acting_for("emp-7"), trail.gen(model="acme/painter@3", prompt="x") as call:
        call.output(signed)
        call.fact(marking=c2pa.marking(signed))
    assert recorded.entries[-1]["body"]["marking"] == {
        "c2pa_manifest_digest": _digest(_store(signed, "image/png")),
        "digital_source_type": c2pa.TRAINED,
    }


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="only a head"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF", id="a torn JPEG"),
        pytest.param(b"RIFF\xff\xff\xff\xffWEBP", id="a WebP of four gigabytes"),
    ],
)
def test_a_broken_file_is_no_accident(thing):
    """Whatever somebody uploads, reading it ends with a word for it."""
    found = c2pa.read(thing)
    assert found is None or not found.holds


def test_text_holds_no_manifest(receipt, signer):
    with pytest.raises(ValueError, match="no manifest"):
        c2pa.pointing(b"plain", to=receipt, signer=signer)
