"""The log of one gate on the disk: lines, the tiles of their tree, the signed checkpoint; written, verified, proved.

    layout         the names of a log's files
    line_file      the file that lines are appended to: whole batches or nothing
    tile_files     tiles, read and written; those of the tree's right edge
    signing        the keys that sign, and the checkpoint
    recovery       what a start finds, and whether it is the log that was signed
    log            appends, signs, rotates
    closed_files   compresses closed files, and chooses those that are old enough to go
    verifying      is the log what its checkpoint says, and the continuation of an older one?
    reading        the lines from an index on
    witnesses      asks witnesses to cosign checkpoints, beside the writer
    witnessed      reads checkpoints that witnesses have cosigned
    receipts       the proof of one record
    spool          the hand-over: each worker appends to files of its own, in memory
    drain          from there into the log, each record exactly once

Law 1: lines first, then tiles, then the checkpoint. So whenever a process is killed, the next one finds the lines of
every append that returned, and continues the same tree.
Law 2: a log that is not what its checkpoint says is never continued, and nothing of it is changed. A line that has no
newline yet is none: it is cut off, and counted in the next entry `start`.
Law 3: what cannot be written is an `OSError` for the caller, who may try again: nothing is half counted.
Law 4: one process writes. The folder's lock is the kernel's, and ends with the process.
"""
