"""The one canonical form of a request: path, host, method, cookies."""
