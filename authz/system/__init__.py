"""Operating system services: regular files, files written whole, kept state, locks, threads, signals, sockets.

Law: nothing here knows requests, tokens or policies; what is kept or waited for is the caller's.
"""
