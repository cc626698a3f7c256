import pytest

from authz.settings import endpoints

ADMIN = "127.0.0.1:9180"


@pytest.mark.parametrize(
    ("address", "derived"),
    [
        ("unix:/run/authz/authz.sock", ["unix:/run/authz/worker-0.sock", "unix:/run/authz/worker-1.sock"]),
        ("127.0.0.1:9190", ["127.0.0.1:9190", "127.0.0.1:9191"]),
        ("[::1]:9190", ["[::1]:9190", "[::1]:9191"]),
        ("gate.internal:9190", ["gate.internal:9190", "gate.internal:9191"]),
        ("127.0.0.1:0", ["127.0.0.1:0", "127.0.0.1:0"]),
    ],
)
def test_each_worker_has_an_address_of_its_own(address, derived):
    assert [endpoints.of_worker([address], index, 2) for index in range(2)] == [(text,) for text in derived]
    assert endpoints.of_worker([address], 0, 1) == (address,), "one worker listens where the settings say"


def test_all_addresses_stand_worker_by_worker():
    listen = ["unix:/run/a.sock", "127.0.0.1:9190"]
    assert endpoints.of_all(listen, 2) == (
        *("unix:/run/worker-0.sock", "127.0.0.1:9190"),
        *("unix:/run/worker-1.sock", "127.0.0.1:9191"),
    )
    assert endpoints.of_all(listen, 1) == tuple(listen)


@pytest.mark.parametrize(
    ("listen", "admin", "count"),
    [
        (["127.0.0.1:9190"], ADMIN, 64),
        (["127.0.0.1:9190", "127.0.0.1:9194"], ADMIN, 4),
        (["127.0.0.1:9190", "127.0.0.2:9190"], ADMIN, 4),
        (["127.0.0.1:0", "127.0.0.1:0"], "127.0.0.1:0", 4),
        (["unix:/a/x.sock", "unix:/b/x.sock"], "unix:/a/admin.sock", 4),
        (["127.0.0.1:65532"], ADMIN, 4),
    ],
)
def test_addresses_that_do_not_clash_are_accepted(listen, admin, count):
    assert list(endpoints.clashes(listen, count, [(admin, "admin.listen")])) == []


@pytest.mark.parametrize(
    ("listen", "admin", "count", "position", "words"),
    [
        (["127.0.0.1:9190", "127.0.0.1:9191"], ADMIN, 2, 1, "127.0.0.1:9191, which belongs to listen[0] of worker 1"),
        (["127.0.0.1:9190"], "127.0.0.1:9191", 2, 0, "worker 1 would listen on 127.0.0.1:9191, which belongs to admin"),
        (["127.0.0.1:9190"], "0.0.0.0:9191", 2, 0, "belongs to admin.listen"),
        (["localhost:9190"], "127.0.0.1:9191", 2, 0, "belongs to admin.listen"),
        (["0.0.0.0:9190"], "127.0.0.1:9191", 2, 0, "belongs to admin.listen"),
        (["unix:/run/a.sock", "unix:/run/b.sock"], ADMIN, 2, 1, "unix:/run/worker-0.sock, which belongs to listen[0]"),
        (["127.0.0.1:65534"], ADMIN, 3, 0, "there are too few"),
        (["127.0.0.1:1", "127.0.0.1:1"], ADMIN, 1, 1, "127.0.0.1:1 is listened on twice, which belongs to listen[0]"),
        (["127.0.0.1:9180"], ADMIN, 1, 0, "belongs to admin.listen"),
    ],
)
def test_addresses_that_clash_are_reported_with_their_place(listen, admin, count, position, words):
    [(where, text)] = endpoints.clashes(listen, count, [(admin, "admin.listen")])
    assert where == position
    assert words in text
