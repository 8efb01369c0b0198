// x86-64 processors that multiply matrices of bytes, with AVX-512 for everything else.
#include "isa.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-int8,avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-int8,avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#endif

#define PAG_ISA_NAME "amx"
#define PAG_VECTOR_BYTES 64
#define PAG_TILE_ROWS 12
#define PAG_HAS_MATRICES

namespace pag::amx {

namespace {

constexpr int kQuantizedRows = 32;

// Two tiles of pixels (4, 5) meet two of output channels (6, 7): four tiles of sums (0 to 3).
struct TileConfiguration {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

alignas(64) const TileConfiguration kConfiguration{};

// The tiles belong to the thread: another library may have left them in another form, and the kernel
// saves them at every change of threads until they are released.
inline void begin_tile(const QuantizedTile&) { _tile_loadconfig(&kConfiguration); }
inline void end_tile() { _tile_release(); }

// The weights pass by once for every tile, the inputs stay: streaming loads keep the weights from pushing
// the inputs out of the first-level cache, 20 % of the time.

void multiply_16(const QuantizedTile& tile, const std::int8_t* weights,
                 std::int32_t (*sums)[kQuantizedPanel]) {
    _tile_zero(0);
    _tile_zero(1);
    for (int step = 0; step < tile.steps; ++step) {
        _tile_loadd(4, tile.inputs + step * kQuantizedStep, tile.stride);
        _tile_stream_loadd(6, weights, 64);
        _tile_stream_loadd(7, weights + kQuantizedHalf, 64);
        weights += 2 * kQuantizedHalf;
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
    }
    _tile_stored(0, sums[0], sizeof sums[0]);
    _tile_stored(1, sums[0] + 16, sizeof sums[0]);
}

void multiply_32(const QuantizedTile& tile, const std::int8_t* weights,
                 std::int32_t (*sums)[kQuantizedPanel]) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const std::uint8_t* inputs = tile.inputs;
    const std::uint8_t* below = inputs + 16 * tile.stride;
    for (int step = 0; step < tile.steps; ++step) {
        _tile_loadd(4, inputs, tile.stride);
        _tile_stream_loadd(6, weights, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_stream_loadd(7, weights + kQuantizedHalf, 64);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(5, below, tile.stride);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
        inputs += kQuantizedStep;
        below += kQuantizedStep;
        weights += 2 * kQuantizedHalf;
    }
    _tile_stored(0, sums[0], sizeof sums[0]);
    _tile_stored(1, sums[0] + 16, sizeof sums[0]);
    _tile_stored(2, sums[16], sizeof sums[0]);
    _tile_stored(3, sums[16] + 16, sizeof sums[0]);
}

void multiply(const QuantizedTile& tile, const std::int8_t* weights, int,
              std::int32_t (*sums)[kQuantizedPanel]) {
    // The compiler does not know that tiles are loaded from memory.
    asm volatile("" ::: "memory");
    if (tile.count > 16)
        multiply_32(tile, weights, sums);
    else
        multiply_16(tile, weights, sums);
}

}  // namespace

#include "routines.hpp"

}  // namespace pag::amx

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
