// The routines of bf16 layers for one instruction set; a part of routines.hpp.
//
// Factors are rounded to bf16, sums are floats: the instruction sets differ in their order only.

typedef Bf16 Halves
    __attribute__((vector_size(PAG_VECTOR_BYTES / 2), aligned(2), may_alias));
// Two bf16 in each lane, the first one in the lower half.
typedef std::uint32_t Pairs
    __attribute__((vector_size(PAG_VECTOR_BYTES), aligned(2), may_alias));

// To the nearest bf16, of two the even one, in the upper half of each lane; NaN stays NaN.
static inline Pairs round_in_place(Vector value) {
    const Pairs bits = reinterpret_cast<Pairs>(value);
    const Pairs rounded = bits + 0x7FFFU + (bits >> 16 & 1U);
    const Pairs quiet = bits | 0x400000U;
    return value == value ? rounded : quiet;
}

static inline Halves to_bf16(Vector value) {
#if defined(PAG_ROUND_TO_BF16)
    return PAG_ROUND_TO_BF16(value);
#else
    return __builtin_convertvector(round_in_place(value) >> 16, Halves);
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

struct Factors {
    Vector first, second;
};

static inline Factors split(Pairs pairs) {
    return {reinterpret_cast<Vector>(pairs << 16), reinterpret_cast<Vector>(pairs & 0xFFFF0000U)};
}

// Store the results of kPanel channels, those with even numbers and those with odd ones.
static inline void finish_split(const Tile& tile, int row, int column, int lanes, Factors sums) {
    if (tile.rounds) {
        const Pairs first = round_in_place(clamp(sums.first, tile.lower, tile.upper));
        const Pairs second = round_in_place(clamp(sums.second, tile.lower, tile.upper));
        Bf16* out = static_cast<Bf16*>(tile.out[row]) + column;
        *reinterpret_cast<Pairs*>(out) = first >> 16 | (second & 0xFFFF0000U);
        return;
    }
    float both[kPanel];
    for (int lane = 0; lane < kLanes; ++lane) {
        both[2 * lane] = sums.first[lane];
        both[2 * lane + 1] = sums.second[lane];
    }
    finish(tile, row, column, lanes, load(both));
    finish(tile, row, column + kLanes, lanes - kLanes, load(both + kLanes));
}

// The taps of one pixel that are not the row of zeros.
struct DepthwiseTaps {
    int count = 0;
    std::uint8_t taps[kMaxTaps];
};

// Panels of channels of one pixel, several at once, since every sum waits for the product before.
template <int Panels>
static inline void convolve_depthwise_panels(const Tile& tile, int m, const DepthwiseTaps& live,
                                             const float* weights, const float* bias, int column) {
    const std::int64_t padded = padded_to_steps(tile.channels);
    Factors sums[Panels];
    for (int p = 0; p < Panels; ++p)
        sums[p] = {load(bias + column + p * kPanel), load(bias + column + p * kPanel + kLanes)};
    for (int i = 0; i < live.count; ++i) {
        const int tap = live.taps[i];
        const Bf16* input = static_cast<const Bf16*>(tile.rows[tap][m]) + column;
        const float* weight = weights + tap * padded + column;
        for (int p = 0; p < Panels; ++p, input += kPanel, weight += kPanel) {
            const Factors inputs = split(*reinterpret_cast<const Pairs*>(input));
            sums[p].first += inputs.first * load(weight);
            sums[p].second += inputs.second * load(weight + kLanes);
        }
    }
    for (int p = 0; p < Panels; ++p) {
        const int at = column + p * kPanel;
        finish_split(tile, m, at, tile.channels - at, sums[p]);
    }
}

// So many panels of all pixels, then as many more while there are: their weights stay in the first-level
// cache. Returns the first channel that is left.
template <int Panels>
static inline int convolve_depthwise_columns(const Tile& tile, const DepthwiseTaps* live,
                                             const float* weights, const float* bias, int column) {
    const int padded = padded_to_steps(tile.channels), count = tile.count;
    for (; column + Panels * kPanel <= padded; column += Panels * kPanel)
        for (int m = 0; m < count; ++m)
            convolve_depthwise_panels<Panels>(tile, m, live[m], weights, bias, column);
    return column;
}

static void convolve_depthwise_bf16(const Tile& tile, const float* weights, const float* bias) {
    DepthwiseTaps live[kMaxTileRows];
    for (int m = 0; m < tile.count; ++m)
        for (int tap = 0; tap < tile.taps; ++tap)
            if (tile.rows[tap][m] != tile.zeros)
                live[m].taps[live[m].count++] = static_cast<std::uint8_t>(tap);
    int column = convolve_depthwise_columns<4>(tile, live, weights, bias, 0);
    column = convolve_depthwise_columns<2>(tile, live, weights, bias, column);
    convolve_depthwise_columns<1>(tile, live, weights, bias, column);
}

// kBf16Rows and convolve_panel, one panel of output channels at all pixels of a tile.
#if defined(PAG_HAS_MATRICES)
#include "bf16_matrices.hpp"
#else

constexpr int kBf16Rows = kTileRows;

#if defined(PAG_HAS_BLOCKS)
constexpr bool kMultipliesBf16 = true;

// Rows x (2 * kLanes) sums in registers, of the output channels from `inner` of a panel on.
template <int Rows>
static void convolve_columns(const Tile& tile, const Bf16* weights, const float* bias, int inner,
                             int column, int columns) {
    Twins blocks[Rows / 2][kBlocks];
    for (Twins* pair : blocks) fill_rows(load(bias + inner), load(bias + inner + kLanes), pair);
    weights += inner / 16 * kBf16Half + inner % 16 * 2;
    const int steps = padded_to_steps(tile.channels) / kBf16Step;
    for (int tap = 0; tap < tile.taps; ++tap) {
        if (!(tile.live_taps >> tap & 1)) continue;
        const Bf16* from = weights + std::int64_t(tap) * steps * 2 * kBf16Half;
        const void* rows[Rows];
        for (int m = 0; m < Rows; ++m) rows[m] = tile.rows[tap][m];
        for (int step = 0; step < steps; ++step, from += 2 * kBf16Half)
            add_step<Factor::bf16>(rows, step, from, blocks);
    }
    for (int m = 0; m < Rows && m < tile.count; ++m)
        for (int n = 0; n < 2; ++n)
            finish_bf16(tile, m, column + n * kLanes, columns - n * kLanes,
                        Vector(row_of(blocks[m / 2], m % 2, n)));
}
#else

#if defined(PAG_MULTIPLY_BF16)
constexpr bool kMultipliesBf16 = true;
static inline Pairs factors(Pairs pairs) { return pairs; }
static inline Vector add_products(Vector sum, Pairs inputs, Pairs weights) {
    return PAG_MULTIPLY_BF16(sum, inputs, weights);
}
#else
constexpr bool kMultipliesBf16 = false;
static inline Factors factors(Pairs pairs) { return split(pairs); }
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
                decltype(factors(Pairs{})) weight[kVectors];
                for (int n = 0; n < kVectors; ++n)
                    weight[n] = factors(
                        *reinterpret_cast<const Pairs*>(from[n] + skipped + pair * kBf16Step));
#pragma GCC unroll 12
                for (int m = 0; m < Rows; ++m) {
                    typedef std::uint32_t Pair __attribute__((may_alias));
                    const Pair both = *reinterpret_cast<const Pair*>(row[m] + step * 16 + pair);
                    const auto input = factors(both - Pairs{});
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
#endif

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
    for (; column < end; column += kBf16Panel, weights += panel, bias += kBf16Panel) {
        const int left = end - column;
        convolve_panel(tile, weights, bias, column, left < kBf16Panel ? left : kBf16Panel);
    }
}

#endif
