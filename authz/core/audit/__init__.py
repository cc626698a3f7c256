"""The transparency log of decisions: its tree, its signed checkpoints and its receipts. Nothing here writes or serves.

    hashing      leaf and node hashes (RFC 6962 §2.1)
    frontier     appends: what a log must remember, and the root after each append
    tiles        how hashes are stored (c2sp.org/tlog-tiles)
    proving      proofs from tiles: "this entry is in it", "the older log is a beginning of it"
    verifying    checks of both (RFC 9162 §2.1.3.2, §2.1.4.2)
    texts        strict base64, numbers and names
    keys         verifier keys, Ed25519 signatures and cosignatures (c2sp.org/signed-note, c2sp.org/tlog-cosignature)
    note         signed notes (c2sp.org/signed-note)
    checkpoint   origin, size and root, signed by the log, cosigned by witnesses (c2sp.org/tlog-checkpoint)
    witness      what a log and its witnesses say to each other (c2sp.org/tlog-witness)
    cosigning    which checkpoint witnesses are asked about, when, and what has a quorum
    receipt      the proof of one entry, as a file (c2sp.org/tlog-proof@v1)

Law 1: an entry is the bytes that were written, without the newline. Nothing is parsed or brought into another form.
Law 2: one value, one text. What another program might read differently is refused.
Law 3: what does not verify is an `AuditBrokenError`, never a value that a caller may forget to look at. A mistake of
the caller is a `ValueError`. Neither repeats what was read.
"""
