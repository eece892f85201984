"""Ports of a lab: outside the ephemeral range, free, and not another lab's."""

import socket
from pathlib import Path
from random import Random

import pytest

from stayline.domain.errors import RefusedError
from stayline.lab import ports
from stayline.lab.ports import blocks, choose_ports, ephemeral_range, is_free


@pytest.fixture(autouse=True)
def _own_reservations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reservations").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "reservations"))


def test_no_block_touches_the_ephemeral_range() -> None:
    wide = range(12_000, 30_000)
    assert all(port not in wide for block in blocks(wide) for port in block)
    assert blocks(wide)


def test_the_range_is_read_from_the_kernel_file(tmp_path: Path) -> None:
    file = tmp_path / "range"
    file.write_text("1024\t65000\n")
    assert ephemeral_range(file) == range(1024, 65_001)
    assert ephemeral_range(tmp_path / "none") == range(32_768, 61_000)


def test_chosen_ports_are_distinct_free_and_of_one_block(tmp_path: Path) -> None:
    found = choose_ports(tmp_path, 40, Random(1))
    assert len(set(found)) == 40
    assert all(is_free(port) for port in found)
    assert max(found) - min(found) < ports.BLOCK


def test_two_labs_never_get_the_same_block(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first = choose_ports(one, 40, Random(1))
    second = choose_ports(two, 40, Random(1))
    assert not set(first) & set(second)


def test_a_lab_that_needs_more_later_stays_in_its_block(tmp_path: Path) -> None:
    first = choose_ports(tmp_path, 10, Random(1))
    more = choose_ports(tmp_path, 10, Random(2), keep=first)
    assert not set(first) & set(more)
    assert max([*first, *more]) - min([*first, *more]) < ports.BLOCK


def test_a_taken_port_is_not_free_and_not_chosen(tmp_path: Path) -> None:
    first = choose_ports(tmp_path, 1, Random(1))[0]
    with socket.create_server(("127.0.0.1", first)):
        assert not is_free(first)
        assert choose_ports(tmp_path, 1, Random(1))[0] != first


def test_too_few_ports_are_refused_with_the_number(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"0 of 5"):
        choose_ports(tmp_path, 5, Random(1), ephemeral=range(1, 65_536))
