"""One check: a `CheckRequest` in, a recorded `CheckResponse` out."""
