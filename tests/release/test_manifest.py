"""Any byte of a signed model, card or evidence that changes is noticed, and by name."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tests.release.conftest import World
from tests.release.owed import data, laid_down, measure, train

from errata import jsonl
from errata.errors import BadInput, ErrataError
from errata.release import bom, card, manifest
from errata.store import keys


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = laid_down(tmp_path / "desk")
    data(made.ws)
    train(made)
    measure(made)
    card.main(made.ws, card.Config())
    return made


def verify(world: World) -> tuple[int, list[str]]:
    outcome = card.main(world.ws, card.Config(args=["verify"]))
    return outcome.code, outcome.data["problems"]


def signed(world: World) -> list[str]:
    return [each["name"] for each in manifest.statement(world.ws)["subject"]]


def test_what_was_signed_holds_and_covers_weights_card_materials_and_evidence(world: World) -> None:
    assert verify(world) == (0, [])
    names = signed(world)
    adapter = world.made["good"].adapter
    assert f"{adapter}/adapter_model.safetensors" in names
    assert "embedded:model.safetensors" in names
    assert {card.PAGE, bom.PAGE} <= set(names)
    assert any(name.startswith("reports/safety/") for name in names)


def test_one_bit_of_any_signed_file_is_noticed_by_its_name(world: World) -> None:
    for name in signed(world):
        if name.startswith(manifest.EMBEDDED):
            continue
        path = world.ws.path(name)
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        assert verify(world) == (1, [f"{name}: was changed"])
        path.unlink()
        assert verify(world) == (1, [f"{name}: is gone"])
        path.write_bytes(whole)
    assert verify(world) == (0, [])


def test_a_file_put_beside_the_weights_is_noticed(world: World) -> None:
    candidate = world.made["good"]
    (world.ws.path(str(candidate.adapter)) / "new.safetensors").write_bytes(b"x")
    wrong = [f"{candidate.adapter}/new.safetensors: came later"]
    assert list(manifest.problems(world.ws, candidate)) == wrong
    assert verify(world) == (1, wrong)


def test_weights_changed_before_the_card_are_not_signed(world: World) -> None:
    """Every release move writes the card anew: it must not vouch for what lies there by then."""
    (world.ws.path(str(world.made["good"].adapter)) / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput, match="adapter differs from the manifest's"):
        card.main(world.ws, card.Config())
    assert verify(world)[0] == 1


def test_a_manifest_signed_by_a_key_that_somebody_planted_is_noticed(world: World) -> None:
    candidate = world.made["good"]
    path = world.ws.path(str(candidate.adapter)) / "adapter_model.safetensors"
    path.write_bytes(b"other")
    (world.ws.state / "keys" / "card.pem").unlink()
    names = {name: world.ws.path(name) for name in signed(world) if ":" not in name}
    forged = manifest.envelope(
        world.ws, manifest.digests(names), {"candidate_digest": candidate.digest}
    )
    world.ws.path(manifest.PAGE).write_text(json.dumps(forged), encoding="utf-8")
    code, wrong = verify(world)
    assert code == 1
    assert any("signed, but not what" in line for line in wrong)


def test_a_manifest_nested_without_end_is_refused(world: World) -> None:
    world.ws.path(manifest.PAGE).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(BadInput, match="not a DSSE envelope"):
        card.main(world.ws, card.Config(args=["verify"]))


def test_a_manifest_that_was_edited_or_signed_by_a_stranger_is_refused(world: World) -> None:
    path = world.ws.path(manifest.PAGE)
    told = json.loads(path.read_text(encoding="utf-8"))
    body = json.loads(base64.b64decode(told["payload"]))
    body["subject"] = body["subject"][1:]
    edited = told | {"payload": base64.b64encode(jsonl.canonical(body).encode()).decode()}
    path.write_text(json.dumps(edited), encoding="utf-8")
    with pytest.raises(BadInput, match=r"no key in keys/ has signed this"):
        card.main(world.ws, card.Config(args=["verify"]))
    path.write_text(json.dumps(told | {"payloadType": "text/plain"}), encoding="utf-8")
    with pytest.raises(BadInput, match=r"no key in keys/ has signed this"):
        card.main(world.ws, card.Config(args=["verify"]))
    path.write_text(json.dumps(told), encoding="utf-8")
    for key in (world.ws.root / "keys").glob("card-*.pub"):
        key.unlink()
    with pytest.raises(BadInput, match=r"no key in keys/ has signed this"):
        card.main(world.ws, card.Config(args=["verify"]))


def test_the_encoding_is_dsse_s() -> None:
    # The protocol's own example: github.com/secure-systems-lab/dsse, protocol.md.
    found = manifest.encoded("http://example.com/HelloWorld", "hello world")
    assert found == "DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_the_signature_is_ed25519_over_that_encoding(world: World) -> None:
    told = json.loads(world.ws.path(manifest.PAGE).read_text(encoding="utf-8"))
    body = base64.b64decode(told["payload"]).decode()
    (one,) = told["signatures"]
    key = keys.trusted(world.ws, "card")[one["keyid"]]
    key.verify(base64.b64decode(one["sig"]), manifest.encoded(told["payloadType"], body).encode())


def test_the_bill_of_materials_is_cyclonedx_and_holds_the_records(world: World) -> None:
    text = world.ws.path(bom.PAGE).read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told, candidate = json.loads(text), world.made["good"]
    model = told["metadata"]["component"]
    assert model["bom-ref"] == candidate.digest
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    measured = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    row = next(m for m in measured if m["type"] == "evaluate.accuracy" and "slice" not in m)
    assert row["value"] == "1"
    assert float(row["confidenceInterval"]["lowerBound"]) < 1
    (rows,) = [c for c in told["components"] if c["type"] == "data"]
    assert (rows["name"], rows["version"]) == ("data/prefs.jsonl", "v-1")
    file = world.ws.path("data/prefs.jsonl")
    assert rows["hashes"][0]["content"] == jsonl.digest_file(file).removeprefix("sha256:")
    assert told["dependencies"][0]["dependsOn"] == sorted(c["bom-ref"] for c in told["components"])


def test_what_is_not_cyclonedx_is_not_written() -> None:
    with pytest.raises(ErrataError, match=r"not CycloneDX 1\.6"):
        bom.check({"bomFormat": "CycloneDX", "specVersion": "1.6", "extra": 1})
