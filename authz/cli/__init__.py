"""The command line: text in, text out, exit codes (0 yes, 1 a negative answer, 2 usage or configuration).

Law: commands parse arguments and print; every answer comes from the module that the server uses too. A token is read
from a file, standard input or the environment, never from an argument (process lists show arguments), and is never
printed. A command imports modules that cost start-up time only if it needs them.
"""

from authz.cli.main import main

__all__ = ["main"]
