"""RSA moduli that can be factored: what the CA/Browser Forum's Baseline Requirements §6.1.1.3 (2024) refuse, and more.

Law: pure arithmetic on the public modulus, some tens of microseconds for a sound one. It finds the weakness, never the
factors, and reports only which of these weaknesses a key has.

- A factor below `_SMALL`: RSA key generators never make one; it is a copying error or a trap.
- ROCA (CVE-2017-15361): primes of the form k·M + (65537^a mod M), M being the product of the first primes. So the
  modulus is a power of 65537 modulo each of those primes; a random one is that with a probability of 2^-167. Nemec,
  Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack, ACM CCS 2017, §2.
- Factors so close to each other that a few steps of Fermat's method find them (CVE-2022-26320); equal ones are the
  closest.
"""

from functools import cache
from math import gcd, isqrt, prod
from typing import Final

_SMALL: Final = 752  # the bound of BR §6.1.6 for the least factor
_ROCA_LARGEST: Final = 701  # M of moduli from 1984 bits on begins with the first 126 primes
_GENERATOR: Final = 65537
_FERMAT_STEPS: Final = 100
_SQUARES: Final = frozenset(root * root % 64 for root in range(64))


def weakness(modulus: int) -> str:
    """Why the odd modulus protects nothing, worded for an operator; "" if it is not known to be weak."""
    if all(pow(modulus, order, prime) == 1 for prime, order in _roca_orders()):
        return "an RSA key from a generator whose keys can be factored (ROCA, CVE-2017-15361): make another one"
    if gcd(modulus, _small_product()) != 1:
        return f"an RSA modulus with a factor below {_SMALL}"
    if _factors_are_close(modulus):
        return "an RSA modulus whose factors are too close to each other (CVE-2022-26320): make another one"
    return ""


@cache
def _small_primes() -> tuple[int, ...]:
    return tuple(n for n in range(2, _SMALL) if all(n % divisor for divisor in range(2, isqrt(n) + 1)))


@cache
def _small_product() -> int:
    return prod(_small_primes())


@cache
def _roca_orders() -> tuple[tuple[int, int], ...]:
    """The primes of M with the generator's order: its powers are those that are 1 when raised to that order.

    Primes for which every remainder is a power of the generator are left out: they prove nothing.
    """
    found = []
    for prime in _small_primes():
        order, power = 1, _GENERATOR % prime
        while power != 1:
            order, power = order + 1, power * _GENERATOR % prime
        if order < prime - 1 and prime <= _ROCA_LARGEST:
            found.append((prime, order))
    return tuple(found)


def _factors_are_close(modulus: int) -> bool:
    """Fermat: an odd modulus is middle² - distance², and for close factors the middle is just above its root."""
    middle = isqrt(modulus - 1) + 1
    for _ in range(_FERMAT_STEPS):
        square = middle * middle - modulus
        if square % 64 in _SQUARES and isqrt(square) ** 2 == square:
            return True
        middle += 1
    return False
