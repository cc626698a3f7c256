"""A package, so that the stack that these tests share ends with the last of them."""
