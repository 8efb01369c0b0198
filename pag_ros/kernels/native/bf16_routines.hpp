// The routines of bf16 layers for one instruction set; a part of routines.hpp.
//
// Factors are rounded to bf16, sums are floats: the instruction sets differ in their order only.

typedef Bf16 Halves
    __attribute__((vector_size(PAG_VECTOR_BYTES / 2), aligned(2), may_alias));
// Two bf16 in each lane, the first one in the lower half.
typedef std::uint32_t Pairs
    __attribute__((vector_size(PAG_VECTOR_BYTES), aligned(2), may_alias));

static inline Vector from_bf16(const Bf16* from) {
    const Halves halves = *reinterpret_cast<const Halves*>(from);
    return reinterpret_cast<Vector>(__builtin_convertvector(halves, Pairs) << 16);
}

// To the nearest bf16, of two the even one; NaN stays NaN.
static inline Halves to_bf16(Vector value) {
#if defined(PAG_ROUND_TO_BF16)
    return PAG_ROUND_TO_BF16(value);
#else
    const Pairs bits = reinterpret_cast<Pairs>(value);
    const Pairs rounded = bits + 0x7FFFU + (bits >> 16 & 1U);
    const Pairs quiet = bits | 0x400000U;
    return __builtin_convertvector((value == value ? rounded : quiet) >> 16, Halves);
#endif
}

static inline void store_bf16(Bf16* to, Vector value) {
    *reinterpret_cast<Halves*>(to) = to_bf16(value);
}

static void round_row(const float* from, Bf16* to, int count) {
    const int padded = padded_to_steps(count);
    int i = 0;
    for (; i + kLanes <= count; i += kLanes) store_bf16(to + i, load(from + i));
    if (i < count) {
        store_bf16(to + i, load_some(from + i, count - i));
        i += kLanes;
    }
    for (; i < padded; i += kLanes) store_bf16(to + i, Vector{});
}

// As `finish`; a row of bf16 has room for whole panels.
static inline void finish_bf16(const Tile& tile, int row, int column, int lanes, Vector value) {
    if (tile.rounds)
        store_bf16(static_cast<Bf16*>(tile.out[row]) + column, clamp(value, tile.lower, tile.upper));
    else
        finish(tile, row, column, lanes, value);
}

static void convolve_depthwise_bf16(const Tile& tile, const float* weights, const float* bias) {
    const int channels = tile.channels, padded = padded_to_steps(channels);
    for (int m = 0; m < tile.count; ++m) {
        for (int c = 0; c < padded; c += kLanes) {
            Vector sum = load(bias + c);
            for (int tap = 0; tap < tile.taps; ++tap) {
                const Bf16* input = static_cast<const Bf16*>(tile.rows[tap][m]) + c;
                sum += from_bf16(input) * load(weights + tap * padded + c);
            }
            finish_bf16(tile, m, c, channels - c, sum);
        }
    }
}

// kBf16Rows and convolve_panel, one panel of output channels at all pixels of a tile.
#if defined(PAG_HAS_MATRICES)
#include "bf16_matrices.hpp"
#else

constexpr int kBf16Rows = kTileRows;

#if defined(PAG_MULTIPLY_BF16)
constexpr bool kMultipliesBf16 = true;
typedef Pairs Factors;
static inline Factors factors(Pairs pairs) { return pairs; }
static inline Vector add_products(Vector sum, Factors inputs, Factors weights) {
    return PAG_MULTIPLY_BF16(sum, inputs, weights);
}
#else
constexpr bool kMultipliesBf16 = false;

struct Factors {
    Vector first, second;
};

static inline Factors factors(Pairs pairs) {
    return {reinterpret_cast<Vector>(pairs << 16), reinterpret_cast<Vector>(pairs & 0xFFFF0000U)};
}

static inline Vector add_products(Vector sum, Factors inputs, Factors weights) {
    return sum + inputs.first * weights.first + inputs.second * weights.second;
}
#endif

// Rows x (2 * kLanes) sums in registers, of the output channels from `inner` of a panel on.
template <int Rows>
static void convolve_columns(const Tile& tile, const Bf16* weights, const float* bias, int inner,
                             int column, int columns) {
    constexpr int kVectors = 2;
    const Bf16* from[kVectors];
    Vector sum[Rows][kVectors];
    for (int n = 0; n < kVectors; ++n) {
        const int at = inner + n * kLanes;
        from[n] = weights + at / 16 * kBf16Half + at % 16 * 2;
        for (int m = 0; m < Rows; ++m) sum[m][n] = load(bias + at);
    }
    const int steps = padded_to_steps(tile.channels) / kBf16Step;
    for (int tap = 0; tap < tile.taps; ++tap) {
        if (!(tile.live_taps >> tap & 1)) continue;
        const std::uint32_t* row[Rows];
        for (int m = 0; m < Rows; ++m)
            row[m] = static_cast<const std::uint32_t*>(tile.rows[tap][m]);
        for (int step = 0; step < steps; ++step) {
            const std::int64_t skipped = (std::int64_t(tap) * steps + step) * 2 * kBf16Half;
            for (int pair = 0; pair < 16; ++pair) {
                Factors weight[kVectors];
                for (int n = 0; n < kVectors; ++n)
                    weight[n] = factors(
                        *reinterpret_cast<const Pairs*>(from[n] + skipped + pair * kBf16Step));
#pragma GCC unroll 12
                for (int m = 0; m < Rows; ++m) {
                    typedef std::uint32_t Pair __attribute__((may_alias));
                    const Pair both = *reinterpret_cast<const Pair*>(row[m] + step * 16 + pair);
                    const Factors input = factors(both - Pairs{});
#pragma GCC unroll 2
                    for (int n = 0; n < kVectors; ++n)
                        sum[m][n] = add_products(sum[m][n], input, weight[n]);
                }
            }
        }
    }
    for (int m = 0; m < Rows && m < tile.count; ++m)
        for (int n = 0; n < kVectors; ++n)
            finish_bf16(tile, m, column + n * kLanes, columns - n * kLanes, sum[m][n]);
}

static void convolve_panel(const Tile& tile, const Bf16* weights, const float* bias, int column,
                           int columns) {
    constexpr int kThird = kTileRows / 3;
    const int all = tile.rounds ? kBf16Panel : columns;
    for (int inner = 0; inner < all; inner += 2 * kLanes) {
        if (tile.count > 2 * kThird)
            convolve_columns<kTileRows>(tile, weights, bias, inner, column + inner, columns - inner);
        else if (tile.count > kThird)
            convolve_columns<2 * kThird>(tile, weights, bias, inner, column + inner, columns - inner);
        else
            convolve_columns<kThird>(tile, weights, bias, inner, column + inner, columns - inner);
    }
}

static void convolve_bf16(const Tile& tile, const Bf16* weights, const float* bias, int column,
                          int end) {
    const std::int64_t panel = std::int64_t(tile.taps) * padded_to_steps(tile.channels) * kBf16Panel;
    for (; column < end; column += kBf16Panel, weights += panel, bias += kBf16Panel)
        convolve_panel(tile, weights, bias, column, end - column);
}

#endif
