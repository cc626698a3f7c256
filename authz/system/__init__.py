"""Operating system services: regular files, files written whole, kept state, locks, threads, signals, sockets.

Law: nothing here knows what the product does.
"""
