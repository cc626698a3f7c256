"""Fetches one URL as any program does that obeys the proxy variables of its environment and knows of no gate."""

import os
import ssl
import sys
import urllib.request

if __name__ == "__main__":
    tls = ssl.create_default_context(cafile=os.environ["CA"])
    with urllib.request.urlopen(sys.argv[1], context=tls) as answer:  # noqa: S310 the test says which
        sys.stdout.write(f"{answer.status}\n")
