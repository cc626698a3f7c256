"""How a person at a command line gets a token: from the provider, or from a break-glass key.

Law: this runs on people's machines, never in a serving process. What is secret (tokens, codes, verifiers, private keys)
goes to the provider, into the keyring or a private file, and to no other place: no text, error or `repr` has any of it.
"""
