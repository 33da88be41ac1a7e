"""Verifies logs as an auditor does who uses the library tlog-scales for Python.

Takes folders of logs as arguments and prints for each whether the library accepts it.
"""

import sys
from pathlib import Path

from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import ConsistencyProof, InclusionProof
from tlog_scales.utils import b64dec


def verify(log):
    reader = TilesReader(LocalBackend(log))
    checkpoint = reader.get_checkpoint()
    for key in ("log.vkey", "witness.vkey"):
        checkpoint.verify(Vkey.from_string((log / key).read_text()))
    size, root = checkpoint.size, checkpoint.root_hash
    if reader.calculate_root_hash() != root:
        raise ValueError("the tiles have another root")

    inclusion = (log / "inclusion").read_text().splitlines()
    if len(inclusion) != size:
        raise ValueError("not every entry has a proof")
    for line in inclusion:
        index, *hashes = line.split()
        proof = InclusionProof(int(index), size, [b64dec(hash) for hash in hashes])
        proof.check(leaf_hash(reader.get_entry(int(index))), root)
        if proof != reader.get_inclusion_proof(int(index), size):
            raise ValueError(f"the tiles prove entry {index} otherwise")

    consistency = (log / "consistency").read_text().splitlines()
    if len(consistency) != size - 1:
        raise ValueError("not every earlier tree has a proof")
    for line in consistency:
        old, old_root, *hashes = line.split()
        proof = ConsistencyProof(int(old), size, [b64dec(hash) for hash in hashes])
        proof.check(b64dec(old_root), root)
        if proof != reader.get_consistency_proof(int(old), size):
            raise ValueError(f"the tiles prove the tree of {old} otherwise")


for folder in sys.argv[1:]:
    try:
        verify(Path(folder))
        print("accepted")
    except Exception as error:  # The library has no common class of errors.
        print("refused:", " ".join(repr(error).split()))
