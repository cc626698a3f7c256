"""The command line: text in, text out, exit codes (0 yes, 1 a negative answer, 2 usage or configuration).

Law: commands parse arguments and print; every answer comes from the module that the server uses too. A token is read
from a file, standard input or the environment, never from an argument (arguments show in process lists), and is never
printed. Modules that cost start-up time are imported by the command that needs them.
"""

from authz.cli.main import main

__all__ = ["main"]
