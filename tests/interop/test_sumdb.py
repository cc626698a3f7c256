"""Our logs and those of golang.org/x/mod/sumdb, which Go's checksum database runs on, understand each other.

`peer.go` is compiled against Debian's package of that library, without a network, and answers questions in one process.
"""

import base64
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from authz.audit import receipts, witnesses
from authz.audit.tile_files import TileFiles
from authz.core.audit import checkpoint, note
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.entry import entry_of, line_hashes
from authz.core.audit.hashing import leaf_hash
from authz.core.audit.texts import encoded
from authz.core.audit.tiles import Tile
from authz.core.audit.verifying import verify_consistency, verify_inclusion
from authz.core.audit.witness import add_checkpoint, read_cosignature
from authz.core.errors import AuditBrokenError
from authz.core.urls import Url
from authz.system.clock import SystemClock
from tests.support.factories.audit_logs import BOTH, LOG, ORIGIN, WITNESSES, Key, StoredLog
from tests.support.factories.written_logs import KEY, NEXT_KEY, OTHER, line, lines_of, opened, written
from tests.support.missing import skip_or_fail
from tests.support.simulators.witness import Witness

PEER = Path(__file__).with_name("peer.go")
LIBRARY = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog")
BUILD_S, ANSWER_S = 240, 60
SIZES = (1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 600)
ENTRIES = [b'{"v":1,"type":"decision","id":"%08d"}' % number * (number % 7) for number in range(600)]
STORED = StoredLog(ENTRIES)
NAMES = ("gate.example/audit/eu-1", "Ωμέγα", "a")


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Asks the peer a list of questions; one answer for each."""
    if shutil.which("go") is None or not LIBRARY.exists():
        skip_or_fail("Go or golang.org/x/mod is not installed: run scripts/system-packages")
    folder = tmp_path_factory.mktemp("peer")
    program = folder / "peer"
    alone = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOPROXY": "off", "CGO_ENABLED": "0"}
    built = subprocess.run(
        ["go", "build", "-o", program, PEER],
        env={"PATH": os.environ["PATH"], "GOCACHE": str(folder / "cache"), **alone},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert built.returncode == 0, built.stderr

    def asked(questions):
        answered = subprocess.run(
            [program], input=json.dumps(questions).encode(), capture_output=True, timeout=ANSWER_S, check=True
        )
        answers = json.loads(answered.stdout)
        assert len(answers) == len(questions)
        return answers

    return asked


def opening(data, *keys):
    return {"ask": "open", "note": encoded(data), "keys": [str(key.public) for key in keys]}


def private(key, seed):
    """The key as sumdb's note writes private ones; `seed` is that of the factory."""
    secret = encoded(b"\1" + seed.to_bytes(32, "big"))
    return f"PRIVATE+KEY+{key.public.name}+{key.public.key_id.hex()}+{secret}"


def flips(data, every):
    for bit in range(0, len(data) * 8, every):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_go_verifies_our_checkpoints_with_their_cosignatures(ask):
    made = [STORED.checkpoint(size, LOG, *WITNESSES) for size in SIZES]
    answers = ask([opening(data, LOG, *WITNESSES) for data in made])
    for data, answer in zip(made, answers, strict=True):
        assert answer["Ok"], answer["Error"]
        assert answer["Text"] == checkpoint.verify(data, BOTH).checkpoint.text
        assert answer["Signers"] == [key.public.name for key in (LOG, *WITNESSES)]


def test_we_sign_and_verify_the_very_notes_that_go_makes(ask):
    keys = [(Key(name, 40 + at), 40 + at) for at, name in enumerate(NAMES)]
    wanted = [
        "text\n",
        "\n",
        "two\n\nparagraphs\n",
        "— not a signature\n",
        *(Checkpoint(NAMES[0], size, STORED.root(size)).text for size in SIZES),
    ]
    questions = [{"ask": "sign", "text": text, "keys": [private(*key) for key in keys]} for text in wanted]
    for text, answer in zip(wanted, ask(questions), strict=True):
        assert answer["Ok"], answer["Error"]
        data = base64.b64decode(answer["Note"])
        assert data == note.write(text, [key.signature(text) for key, _ in keys])
        assert list(note.verify(note.parse(data), [key.public for key, _ in keys])) == [key.public for key, _ in keys]


def test_both_refuse_the_same_notes(ask):
    """We are stricter in one point: the last letter of a base64 text may not have bits that mean nothing."""
    signed = STORED.checkpoint(300, LOG, WITNESSES[0])
    lines = signed.split(b"\n")
    changed = [signed, *flips(signed, 1)]
    changed += [signed[:at] + signed[at + 1 :] for at in range(len(signed))]
    changed += [signed[:at] for at in range(len(signed))]
    changed += [
        signed[:at] + other + signed[at:] for at in range(len(signed) + 1) for other in (b"\n", b" ", b"\r", b"A")
    ]
    changed += [b"\n".join([*lines[:at], *lines[at + 1 :]]) for at in range(len(lines))]
    trust = checkpoint.Trust(log=LOG.public, witnesses=(WITNESSES[0].public,))
    verdicts = {True: 0, False: 0}
    for data, answer in zip(changed, ask([opening(data, LOG, WITNESSES[0]) for data in changed]), strict=True):
        try:
            read = note.parse(data)
            ours = sorted(key.name for key in note.verify(read, (trust.log, *trust.witnesses)))
        except AuditBrokenError:
            ours = None
        if ours is None and answer["Ok"]:
            assert spare_bits(data), data
            continue
        assert (ours is not None) == answer["Ok"], data
        verdicts[answer["Ok"]] += 1
        if ours is not None:
            assert (read.text, ours) == (answer["Text"], sorted(answer["Signers"]))
    assert verdicts[True] > 10
    assert verdicts[False] > 1000


def spare_bits(data):
    """Whether a signature in the note is not the text that its bytes would be written as."""
    values = [line.rpartition(b" ")[2] for line in data.split(b"\n") if line.startswith("— ".encode())]
    return any(base64.b64encode(base64.b64decode(value)) != value for value in values)


def test_trees_tiles_and_proofs_are_the_same(ask):
    rng = random.Random(89)  # noqa: S311 the same questions in each run
    places = [(rng.randrange(size), size) for size in SIZES for _ in range(20)]
    pairs = [(rng.randint(1, size), size) for size in SIZES for _ in range(20)]
    question = {
        "ask": "build",
        "entries": [encoded(entry) for entry in ENTRIES],
        "sizes": SIZES,
        "places": places,
        "pairs": pairs,
        "tileSize": len(ENTRIES),
    }
    (answer,) = ask([question])
    assert answer["Ok"], answer["Error"]
    assert answer["Roots"] == [encoded(STORED.root(size)) for size in SIZES]
    assert answer["Proofs"] == [list(map(encoded, STORED.inclusion(*place))) for place in places]
    assert answer["Older"] == [list(map(encoded, STORED.consistency(*pair))) for pair in pairs]
    tiles = [Tile(0, 0), Tile(0, 1), *(Tile(0, 2, width) for width in range(1, 89)), Tile(1, 0, 1), Tile(1, 0, 2)]
    assert answer["Tiles"] == {
        tile.path.replace("tile/", "tile/8/"): encoded(STORED.read(tile.level, tile.index, tile.width))
        for tile in tiles
    }


def test_both_accept_and_refuse_the_same_proofs(ask):
    rng = random.Random(89)  # noqa: S311 the same questions in each run
    claims = [wrong for size in SIZES for _ in range(60) for wrong in (inclusion(rng, size), consistency(rng, size))]
    verdicts = {True: 0, False: 0}
    for claim, answer in zip(claims, ask([question(claim) for claim in claims]), strict=True):
        verify = verify_inclusion if "leaf" in claim else verify_consistency
        try:
            verify(**claim)
            ours = True
        except AuditBrokenError:
            ours = False
        assert ours == answer["Ok"], (claim, answer["Error"])
        verdicts[ours] += 1
    assert min(verdicts.values()) > 100


def test_a_witness_in_go_takes_our_requests_and_we_take_its_cosignatures(ask):
    rng = random.Random(104)  # noqa: S311 the same questions in each run
    pairs = [(0, 1), (0, 600), (600, 600), *((rng.randint(1, size), size) for size in SIZES for _ in range(5))]
    key, time = WITNESSES[0].public, 1_700_000_000
    questions = [
        {
            "ask": "witness",
            "note": encoded(add_checkpoint(old, STORED.consistency(old, size), STORED.checkpoint(size, LOG))),
            "keys": [str(LOG.public)],
            "first": old,
            "firstOf": encoded(STORED.root(old)),
            "leaf": encoded((10).to_bytes(32, "big")),
            "text": key.name,
            "time": time,
        }
        for old, size in pairs
    ]
    for (_, size), answer in zip(pairs, ask(questions), strict=True):
        assert answer["Ok"], answer["Error"]
        head = Checkpoint(ORIGIN, size, STORED.root(size))
        found = read_cosignature(base64.b64decode(answer["Note"]), head, key)
        assert found == WITNESSES[0].signature(head.text, time), "both make the same cosignature"
    wrong = [{**one, "firstOf": encoded(bytes(32))} for one in questions if one["first"]]
    assert not any(answer["Ok"] for answer in ask(wrong))


def test_go_verifies_what_a_quorum_cosigned_and_the_gate_kept(ask, tmp_path):
    """The file `witnessed`, and a receipt with it, made by the product with witnesses over HTTP."""
    log = opened(written(tmp_path / "audit", [300, 200]))
    with Witness(WITNESSES[0].public.name, 10, [str(LOG.public)]) as witness:
        trust = checkpoint.Trust(log=LOG.public, witnesses=(WITNESSES[0].public,), quorum=1)
        known = [witnesses.Witness(WITNESSES[0].public, Url.parse(witness.url))]
        asked = witnesses.Witnesses(known, trust, TileFiles(tmp_path / "audit"), SystemClock())
        asked.start()
        asked.finish(log.head, 30)
        log.keep_witnessed(asked.take())
    data = (tmp_path / "audit" / "witnessed").read_bytes()
    made = receipts.prove(tmp_path / "audit", receipts.find(tmp_path / "audit", f"{7:024x}"), [KEY.public])
    assert made.endswith(data)
    (answer,) = ask([opening(data, LOG, WITNESSES[0])])
    assert answer["Ok"], answer["Error"]
    assert answer["Signers"] == [LOG.public.name, WITNESSES[0].public.name]
    log.close()


def test_go_verifies_what_is_in_a_receipt(ask):
    """This version of the library knows no receipts: a few lines take one apart."""
    questions = []
    for index, size in ((0, 1), (0, 5), (4, 5), (255, 256), (256, 257), (299, 600), (599, 600)):
        head, signed = STORED.receipt(index, size, LOG, *WITNESSES).split(b"\n\n", 1)
        _, place, *proof = head.decode().split("\n")
        _, shown, root, *_ = signed.decode().split("\n")
        claim = {"index": int(place.removeprefix("index ")), "size": int(shown), "root": root, "proof": proof}
        questions += [opening(signed, LOG), {"ask": "inclusion", "leaf": encoded(leaf_hash(ENTRIES[index])), **claim}]
    assert [answer["Error"] for answer in ask(questions)] == [""] * len(questions)


def test_go_verifies_a_log_that_the_gates_writer_wrote(ask, tmp_path):
    """The checkpoint, the tiles in their files, and a receipt, of a log in three files that was continued."""
    folder = written(tmp_path / "audit", [300, 500, 200])
    long = line(7, 70_000)
    log = opened(folder, keys=(NEXT_KEY, KEY))
    log.append([long])
    log.close()
    lines = lines_of(folder)
    head = (folder / "checkpoint").read_bytes()
    proof = receipts.prove(folder, receipts.find(folder, f"{7:024x}"), [KEY.public])
    text, signed = proof.split(b"\n\n", 1)
    _, _extra, place, *path = text.decode().split("\n")
    _, size, root, *_ = signed.decode().split("\n")
    index = int(place.removeprefix("index "))
    claim = {"leaf": encoded(line_hashes([long])), "index": index, "size": int(size), "root": root, "proof": path}
    entries = [encoded(entry_of(one)) for one in lines]
    questions = [
        {"ask": "open", "note": encoded(head), "keys": [str(LOG.public), str(OTHER.public)]},
        {"ask": "inclusion", **claim},
        {"ask": "build", "entries": entries, "sizes": [len(lines)], "tileSize": len(lines)},
    ]
    opening_, included, built = ask(questions)
    assert [one["Error"] for one in (opening_, included, built)] == [""] * 3
    assert opening_["Text"].split("\n")[1:3] == [str(len(lines)), built["Roots"][0]]
    assert sorted(opening_["Signers"]) == [LOG.public.name] * 2
    tiles = {name.replace("tile/8/", "tile/"): base64.b64decode(data) for name, data in built["Tiles"].items()}
    stored = {
        str(path.relative_to(folder)): path.read_bytes() for path in (folder / "tile").rglob("*") if path.is_file()
    }
    assert {name: tiles.get(name) for name in stored} == stored
    partial = f"tile/0/{len(lines) // 256:03}.p/{len(lines) % 256}"
    assert {"tile/0/000", "tile/0/002", partial, "tile/1/000.p/3"} <= stored.keys()


def inclusion(rng, size):
    index = rng.randrange(size)
    claim = {
        "leaf": leaf_hash(ENTRIES[index]),
        "index": index,
        "size": size,
        "root": STORED.root(size),
        "proof": STORED.inclusion(index, size),
    }
    return changed(rng, claim, {"leaf": a_hash, "root": a_hash, "index": a_number, "size": a_number, "proof": a_path})


def consistency(rng, second):
    first = rng.randint(1, second)
    claim = {
        "first": first,
        "first_root": STORED.root(first),
        "second": second,
        "second_root": STORED.root(second),
        "proof": STORED.consistency(first, second),
    }
    ways = {"first": a_number, "second": a_number, "first_root": a_hash, "second_root": a_hash, "proof": a_path}
    return changed(rng, claim, ways)


def changed(rng, claim, ways):
    """The claim, with one part changed, two, or none."""
    return claim | {
        part: ways[part](rng, claim[part]) for part in rng.sample(sorted(ways), rng.choice([0, 1, 1, 1, 2]))
    }


def a_number(rng, number):
    return max(1, rng.choice([number - 1, number + 1, number * 2, rng.randint(1, 600)]))


def a_hash(rng, value):
    return rng.choice([value, rng.choice(list(flips(value, 1))), rng.randbytes(32), value[:31]])


def a_path(rng, path):
    at = rng.randint(0, len(path))
    ways = [(*path[:at], rng.randbytes(32), *path[at:]), path[:-1], path[1:], path[::-1], (*path, *path)]
    if path:
        at = rng.randrange(len(path))
        ways.append((*path[:at], a_hash(rng, path[at]), *path[at + 1 :]))
    return rng.choice(ways)


def question(claim):
    proof = list(map(encoded, claim["proof"]))
    if "leaf" in claim:
        hashes = {"leaf": encoded(claim["leaf"]), "root": encoded(claim["root"])}
        return {"ask": "inclusion", "index": claim["index"], "size": claim["size"], "proof": proof, **hashes}
    hashes = {"firstOf": encoded(claim["first_root"]), "root": encoded(claim["second_root"])}
    return {"ask": "consistency", "first": claim["first"], "size": claim["second"], "proof": proof, **hashes}
