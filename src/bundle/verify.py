"""Verifies an unpacked bundle with Python 3 and openssl 3 alone: python3 verify.py VKEY [FOLDER]

Prints what was verified, or the first thing that is wrong. Memory does not grow with the number of facts.
"""
import base64, functools, hashlib, hmac, json, subprocess, sys, tempfile
from datetime import datetime
from pathlib import Path

vkey, folder = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".")
installation, public = vkey.split("+")[0], base64.b64decode(vkey.split("+", 2)[2])


def check(holds, *wrong):
    if not holds:
        sys.exit("NOT VERIFIED: " + " ".join(map(str, wrong)))


def time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def commit(salt, data):
    return hmac.new(base64.b64decode(salt), data, "sha256")


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def leaf(entry):
    return hashlib.sha256(b"\0" + entry.encode()).digest()


def root(hashes):  # RFC 6962, section 2.1
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root(hashes[:k]), root(hashes[k:]))


def signed(note, name):
    """The size and the root hash in a checkpoint that the key has signed under this name."""
    text, signatures = note.split("\n\n", 1)
    lines = text.split("\n")
    check(len(lines) == 3 and lines[0] == name, "the checkpoint is of", lines[0], "and not of", name)
    key_id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    own = [s for s in (base64.b64decode(line.split(" ")[2]) for line in signatures.splitlines()
                       if line.startswith(f"— {name} ")) if s[:4] == key_id]
    check(own, "the key has not signed the checkpoint of", name)
    with tempfile.TemporaryDirectory() as temporary:
        files = [Path(temporary, file) for file in ("key", "text", "signature")]
        contents = (bytes.fromhex("302a300506032b6570032100") + public[1:], (text + "\n").encode(), own[0][4:])
        for file, content in zip(files, contents):
            file.write_bytes(content)
        done = subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", files[0],
                               "-in", files[1], "-sigfile", files[2]], capture_output=True)
    check(done.returncode == 0, "the signature of the checkpoint of", name, "does not verify")
    return int(lines[1]), base64.b64decode(lines[2])


@functools.lru_cache(maxsize=1024)
def tile(log, level, index, size):
    """The hashes of a tile, after they were compared with the tile above it or with the signed root hash."""
    width = min(256, (size >> 8 * level) - 256 * index)
    digits = str(index).zfill(-(-len(str(index)) // 3) * 3)
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    path = f"tile/{level}/" + "".join(f"x{group}/" for group in groups[:-1]) + groups[-1]
    path += f".p/{width}" if width < 256 else ""
    data = (folder / "log" / log / path).read_bytes()
    check(len(data) == 32 * width, log, path, "has another length")
    hashes = [data[i:i + 32] for i in range(0, len(data), 32)]
    if width == 256:
        check(root(hashes) == tile(log, level + 1, index // 256, size)[index % 256], log, path, "was altered")
    return hashes


def check_log(log, salt):
    note = (folder / "log" / log / "checkpoint").read_bytes().decode()
    size, head = signed(note, f"{installation}/log/{log}")
    joined = []
    for level in range(8):  # The partial tiles of all levels lead to the root.
        if (size >> 8 * level) % 256:
            joined = [root(tile(log, level, size >> 8 * (level + 1), size) + joined)]
    check(joined == [head], "log", log, "the tiles do not lead to the signed root hash")
    proof, logged = (folder / "log" / log / "installation.tlog-proof").read_bytes().decode().split("\n\n", 1)
    lines = proof.split("\n")
    trunk = logged.split("\n")[0]
    check(trunk == installation or trunk.startswith(installation + "/era/"), "another installation:", trunk)
    above, top = signed(logged, trunk)
    commitment = base64.b64encode(commit(salt, note.encode()).digest()).decode()
    hashed, f, s = leaf(f"hooksentry.dev/checkpoint/v1\nlog {log}\ncheckpoint {commitment}\n"), int(lines[1].split()[1]), above - 1
    check(f <= s, "log", log, "the proof of its checkpoint is for no entry")
    for sibling in map(base64.b64decode, lines[2:]):  # RFC 9162, section 2.1.3.2
        check(s, "log", log, "the proof of its checkpoint is too long")
        if f & 1 or f == s:
            hashed = node(sibling, hashed)
            while not f & 1 and f:
                f, s = f >> 1, s >> 1
        else:
            hashed = node(hashed, sibling)
        f, s = f >> 1, s >> 1
    check(s == 0 and hashed == top, "log", log, "the log of the installation does not have its checkpoint")
    return size, head


def check_file(path, salt, commitment, where):
    mac = commit(salt, b"")
    with open(folder / path, "rb") as file:
        while chunk := file.read(1 << 20):
            mac.update(chunk)
    check(mac.hexdigest() == commitment, where, path, "is not what the fact commits to")


def check_contents(fact, where):
    form = json.loads(fact["text"]).get(fact["type"])
    if payload := fact.get("payload"):
        path = "payloads/" + fact["stream"].split("/")[1]
        check_file(path + ".delivered", payload["salt"], form["payload"]["hmacSha256"], where)
        if payload["received"]:
            check_file(path + ".received", payload["salt"], form["mapping"]["applied"]["hmacSha256"], where)
    if response := fact.get("response"):
        same = commit(response["salt"], response["text"].encode()).hexdigest() == form["report"]["responseHmacSha256"]
        check(same, where, "the response is not what the fact commits to")


manifest = json.loads((folder / "manifest.json").read_bytes())
heads = {part["id"]: check_log(part["id"], part["checkpointSalt"]) for part in manifest["logs"]}
indexes = {log: [] for log in heads}  # first index, last index, number, time of the first, time of the last
streams = {}
for number, line in enumerate(open(folder / "facts.ndjson", encoding="utf-8", newline="\n"), 1):
    entry = json.loads(line)
    log, index, fact, ended = entry["log"], entry["index"], entry.get("fact"), entry.get("continues")
    where = f"line {number}: log {log}, entry {index}:"
    check(log in heads, where, "the log is not in the manifest")
    seen = indexes[log]
    check(not seen or index > seen[1], where, "not in the order of the log")
    recorded = fact and time(fact["recorded"])
    indexes[log] = [*(seen[:1] or [index]), index, (seen[2] if seen else 0) + 1, seen[3] if seen else recorded, recorded]
    if fact:
        lines = [f"stream {fact['stream']}", f"sequence {fact['sequence']}", f"type {fact['type']} {fact['version']}",
                 f"recorded {fact['recorded']}"]
        for name, text in (("metadata ", fact["metadata"]), ("fact     ", fact["text"])):
            lines.append(name + base64.b64encode(commit(fact["salt"], text.encode()).digest()).decode())
        text = "hooksentry.dev/fact/v1\n" + "\n".join(lines) + "\n"
        where += f" {fact['stream']} {fact['sequence']}:"
    else:
        text = f"hooksentry.dev/continuation/v1\nlog {ended['log']}\nsize {ended['size']}\nroot {ended['root']}\n"
        before = heads.get(ended["log"])
        head = (ended["size"], base64.b64decode(ended["root"]))
        check(before in (None, head), where, "the log before it has another head")
    check(index < heads[log][0], where, "not covered by the checkpoint")
    check(leaf(text) == tile(log, 0, index // 256, heads[log][0])[index % 256], where, "not what the log has there")
    if fact:
        check_contents(fact, where)
        if "event" in manifest["selection"]:
            check(fact["sequence"] == streams.get(fact["stream"], 0) + 1, where, "facts before it are missing")
            streams[fact["stream"]] = fact["sequence"]
selected = manifest["selection"].get("recorded") or {}
begin, end = time(selected.get("from")), time(selected.get("to"))
for number, part in enumerate(manifest["logs"], 1):
    first, last, count, earliest, latest = indexes[part["id"]] or (None, None, 0, None, None)
    size, head = heads[part["id"]]
    if claimed := part.get("indexes"):
        check([first, last, count] == [*claimed, claimed[1] - claimed[0] + 1], "log", part["id"], "entries are missing")
        # One fact before the time and one after it show that no fact of it is missing.
        check(first == 0 or number == 1 and begin and earliest < begin, "log", part["id"], "entries before", first, "are missing")
        check(last == size - 1 or number == len(heads) and end and latest >= end, "log", part["id"], "entries after", last, "are missing")
    print(f"log {part['id']}: {count} of {size} entries verified, from {first} to {last}; root {base64.b64encode(head).decode()}")
check(sum(seen[2] for seen in indexes.values() if seen) == manifest["lines"], "facts.ndjson has another number of lines")
print("VERIFIED")
