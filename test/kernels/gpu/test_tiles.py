"""A tile is chosen by what the fullest multiprocessor has to do."""

from __future__ import annotations

import pytest

from pag_ros.kernels.gpu.tiles import (
    CHIPS,
    TILES,
    chips_of,
    choose_tile,
    nearest_chip,
    program_cycles,
    waves,
)

ORIN = 87


def tile_of(
    *, pixels=1200, channels=128, features=128, taps=9, capability=ORIN, multiprocessors=16
):
    tile = choose_tile(pixels, channels, features, taps, capability, multiprocessors)
    return tile.pixels, tile.features, tile.channels


def test_a_chip_with_more_multiprocessors_gets_smaller_tiles():
    assert tile_of(multiprocessors=8) == (128, 128, 32)
    assert tile_of(multiprocessors=16) == (128, 64, 32)
    assert tile_of(capability=90, multiprocessors=132) == (32, 32, 128)


def test_a_larger_map_gets_larger_tiles():
    sizes = [tile_of(pixels=pixels, capability=90, multiprocessors=132) for pixels in (1200, 19200)]
    assert sizes == [(32, 32, 128), (128, 128, 32)]


@pytest.mark.parametrize("capability", CHIPS)
@pytest.mark.parametrize("pixels", [1, 300, 1200, 19200])
def test_no_tile_of_the_table_is_faster_than_the_chosen_one(capability, pixels):
    def cycles(tile, size):
        each = program_cycles(tile, 9 * 128, capability)
        shares = (0.3, 0.5, 0.7)
        return each * sum(waves(round(d * pixels), 128, tile, size) for d in shares)

    for size in chips_of(capability):
        chosen = choose_tile(pixels, 128, 128, 9, capability, size)
        least = min(cycles(tile, size) for tile in TILES)
        assert cycles(chosen, size) == pytest.approx(least)


@pytest.mark.parametrize("features", [1, 7, 16, 17, 32])
def test_a_narrow_result_gets_a_narrow_tile(features):
    _, width, _ = tile_of(features=features)
    assert features <= width < 2 * max(16, features)


@pytest.mark.parametrize(
    ("channels", "step"),
    [(7, 16), (16, 16), (33, 64), (96, 128), (128, 128), (129, 64), (512, 128)],
)
def test_a_step_leaves_as_few_channels_empty_as_it_can(channels, step):
    assert tile_of(channels=channels, capability=90, multiprocessors=132)[2] == step


def test_the_programs_of_the_fullest_multiprocessor_are_counted():
    tile = TILES[2]
    assert (tile.pixels, tile.features) == (64, 64)
    assert waves(0, 128, tile, 16) == 0
    assert waves(64, 128, tile, 2) == 1
    assert waves(65, 128, tile, 2) == 2
    assert waves(600, 128, tile, 16) == 2


@pytest.mark.parametrize(
    ("index", "capability", "limit"),
    [
        (0, 87, 512),  # 128 x 128 x 32 products at 1024 a cycle
        (2, 87, 256),  # (64 + 64) x 32 operands of 2 bytes at 32 bytes a cycle
        (0, 90, 512),  # operands, since its tensor cores are twice as fast
        (0, 86, 2048),  # products at 256 a cycle
        (0, 110, 512),
    ],
)
def test_a_program_takes_as_long_as_its_slowest_part(index, capability, limit):
    tile = TILES[index]
    begun = program_cycles(tile, 0, capability)
    assert program_cycles(tile, 320, capability) == pytest.approx(begun + 10 * limit)


def test_a_program_takes_no_less_than_its_instructions():
    tile = TILES[4]
    assert tile.issue_cycles == 38
    assert program_cycles(tile, 32, 110) - program_cycles(tile, 0, 110) == 128  # operands
    slow = tile.__class__(32, 32, 128, 2, 2, issue_cycles=1000)
    assert program_cycles(slow, 32, 110) - program_cycles(slow, 0, 110) == 1000


def test_the_nearest_chip_is_the_one_of_the_nearest_ratio():
    assert [nearest_chip((16, 8), size) for size in (1, 8, 11, 12, 99)] == [8, 8, 8, 16, 16]
    assert nearest_chip([4, 9], 6) == 4  # equally near


def test_a_capability_between_the_known_ones_is_taken_as_the_one_below():
    assert chips_of(88) == chips_of(87) == (8, 16)
    assert chips_of(121) == CHIPS[120]
