"""Weak RSA moduli, made for these tests, are found; random good ones pass."""

import functools
import math
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from authz.core.jose import jwks
from authz.core.jose.weak_rsa import weakness
from tests.support.factories.tokens import b64_int, jwks_of, make_key, private_key

M = math.prod(p for p in range(2, 702) if all(p % q for q in range(2, math.isqrt(p) + 1)))  # 126 primes


def is_prime(number):
    """Miller and Rabin's test, often enough for a test."""
    if math.gcd(number, M) != 1:
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(8):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power in {1, number - 1}:
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


@functools.cache
def roca_prime(bits, _serial=0):
    """A prime as the faulty generator makes them: k·M + (65537^a mod M)."""
    while True:
        k = secrets.randbits(bits - M.bit_length()) | 1 << (bits - M.bit_length() - 1)
        candidate = k * M + pow(65537, secrets.randbelow(1 << 64), M)
        if candidate.bit_length() == bits and is_prime(candidate):
            return candidate


def prime_above(number):
    number |= 1
    while not is_prime(number):
        number += 2
    return number


def factor():
    return private_key("RSA-2048").private_numbers().p


def test_a_key_of_the_faulty_generator_is_found():
    assert M.bit_length() == 971  # the paper's M for 2048 bits
    modulus = roca_prime(1024) * roca_prime(1024, 1)
    assert modulus.bit_length() in {2047, 2048}
    assert "CVE-2017-15361" in weakness(modulus)


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 8192])
def test_its_form_alone_is_found_whatever_the_size(bits):
    for _ in range(50):
        modulus = (secrets.randbits(bits - 971) | 1 << (bits - 972)) * M + pow(65537, secrets.randbits(64), M)
        assert "ROCA" in weakness(modulus)


def test_one_prime_that_does_not_fit_the_form_is_enough_to_pass():
    assert weakness(roca_prime(1024) * factor()) == ""


@pytest.mark.parametrize("small", [3, 5, 7, 701, 751])
def test_a_tiny_factor_is_found(small):
    assert "factor below 752" in weakness(factor() * prime_above(1 << 1020) * small)


def test_factors_above_the_bound_are_not_looked_for():
    assert weakness(factor() * private_key("RSA-2048").private_numbers().q * 757) == ""


@pytest.mark.parametrize("distance", [0, 1, 1 << 64, 1 << 500])
def test_close_factors_are_found(distance):
    prime = factor()
    other = prime if distance == 0 else prime_above(prime + distance)
    assert "too close" in weakness(prime * other)


def test_factors_that_differ_in_their_first_bits_are_not_close():
    prime = factor()
    assert weakness(prime * prime_above(prime - (1 << 1016))) == ""


def test_500_random_moduli_of_good_primes_pass():
    """Products of two of 33 primes of OpenSSL's: 528 moduli, and every pair of primes is as good as any other."""
    keys = [rsa.generate_private_key(65537, 2048).private_numbers() for _ in range(17)]
    primes = [prime for key in keys for prime in (key.p, key.q)]
    moduli = [p * q for number, p in enumerate(primes) for q in primes[:number]]
    assert len(moduli) >= 500
    assert {weakness(modulus) for modulus in moduli} == {""}


def test_random_odd_numbers_have_the_form_by_no_chance_that_counts():
    found = [weakness(secrets.randbits(2048) | 1 | 1 << 2047) for _ in range(2000)]
    assert not any("ROCA" in text for text in found)


@pytest.mark.parametrize("kind", ["ROCA", "factor below", "too close"])
def test_a_weak_key_in_a_key_set_is_left_out_and_told(kind):
    modulus = {
        "ROCA": ((1 << 1077) + 1) * M + pow(65537, 7, M),
        "factor below": 3 * factor() * private_key("RSA-2048").private_numbers().q,
        "too close": factor() ** 2,
    }[kind]
    weak = make_key("RS256", kid="weak").jwk_with(n=b64_int(modulus))
    keyset = jwks.parse(jwks_of([make_key("RS256", kid="good"), weak]))
    assert set(keyset.keys) == {"good"}
    [told] = keyset.ignored
    assert kind in told
    assert "weak" in told
