// The routines of quantized layers for one instruction set; a part of routines.hpp.
//
// Sums are integers, so their order does not matter. What follows rounds the same way on every
// instruction set: one float product, perhaps one float sum, one conversion to the nearest integer.

// May lie anywhere and alias other integers.
typedef std::int32_t Ints
    __attribute__((vector_size(PAG_VECTOR_BYTES), aligned(4), may_alias));

static inline Ints load_ints(const void* from) { return *static_cast<const Ints*>(from); }

// Keeps the compiler from making a product and a sum one instruction, which rounds once only.
static inline Vector rounded(Vector value) {
#if defined(__x86_64__)
    asm("" : "+v"(value));
#elif defined(__aarch64__)
    asm("" : "+w"(value));
#else
    asm("" : "+m"(value));
#endif
    return value;
}

// To the nearest integer, of two the even one; |value| < 2^22. A comparison with NaN is false, so that
// NaN becomes the lower bound.
static inline Ints nearest(Vector value, float lower, float upper) {
    const Vector low = broadcast(lower), high = broadcast(upper);
    value = value > low ? value : low;
    value = value < high ? value : high;
    constexpr float kNoFraction = 12582912.0F;  // 1.5 * 2^23: floats of this size are integers
    return __builtin_convertvector((value + kNoFraction) - kNoFraction, Ints);
}

static inline void store_bytes(std::uint8_t* to, Ints value, int lanes) {
    typedef std::uint8_t Bytes __attribute__((vector_size(kLanes), aligned(1), may_alias));
    const Bytes bytes = __builtin_convertvector(value, Bytes);
    if (lanes >= kLanes)
        *reinterpret_cast<Bytes*>(to) = bytes;
    else
        for (int lane = 0; lane < lanes; ++lane) to[lane] = bytes[lane];
}

static inline Ints to_units(Vector value, Vector inverse_scale, int zero_point) {
    const float lower = float(-zero_point), upper = float(255 - zero_point);
    return nearest(value * inverse_scale, lower, upper) + zero_point;
}

static void quantize(const float* from, std::uint8_t* to, int channels, const float* inverse_scale,
                     int zero_point) {
    int c = 0;
    for (; c + kLanes <= channels; c += kLanes)
        store_bytes(to + c, to_units(load(from + c), load(inverse_scale + c), zero_point), kLanes);
    const int left = channels - c;
    const Vector rest = load_some(from + c, left), factors = load_some(inverse_scale + c, left);
    store_bytes(to + c, to_units(rest, factors, zero_point), left);
}

// Where the instruction set multiplies signed bytes only, 0 to 255 become -128 to 127.
#if defined(PAG_SIGNED_INPUTS)
constexpr int kInputShift = 128;
#else
constexpr int kInputShift = 0;
#endif

static inline void copy_inputs(const std::uint8_t* from, std::uint8_t* to, std::int64_t count) {
    typedef std::uint8_t Bytes __attribute__((vector_size(PAG_VECTOR_BYTES), aligned(1), may_alias));
    std::int64_t c = 0;
    for (; c + PAG_VECTOR_BYTES <= count; c += PAG_VECTOR_BYTES)
        *reinterpret_cast<Bytes*>(to + c) = *reinterpret_cast<const Bytes*>(from + c) ^ kInputShift;
    for (; c < count; ++c) to[c] = from[c] ^ kInputShift;
}

#if defined(PAG_HAS_MATRICES) || defined(PAG_HAS_BLOCKS)
// The channels of one tap of all pixels, to the bytes from `at` on of their rows.
static inline void gather_tap(const QuantizedTile& tile, int tap, std::int64_t at) {
    for (int m = 0; m < tile.count; ++m)
        copy_inputs(tile.rows[tap][m], tile.inputs + m * tile.stride + at, tile.channels);
}
#else
// The same, where a step of all rows lies together: one register then points to the inputs of them all, and
// none has to be loaded again in the innermost loop.
constexpr int kStepOfRows = kTileRows * kQuantizedStep;  // bytes

static inline void gather_tap(const QuantizedTile& tile, int tap, std::int64_t at) {
    const std::int64_t channels = tile.channels;
    const int count = tile.count;
    for (std::int64_t c = 0; c < channels;) {
        const std::int64_t step = (at + c) / kQuantizedStep, within = (at + c) % kQuantizedStep;
        const std::int64_t room = kQuantizedStep - within, left = channels - c;
        const std::int64_t part = left < room ? left : room;
        std::uint8_t* to = tile.inputs + step * kStepOfRows + within;
        for (int m = 0; m < count; ++m)
            copy_inputs(tile.rows[tap][m] + c, to + m * kQuantizedStep, part);
        c += part;
    }
}
#endif

// The end of a group of taps that begins with tap `first`, and the steps that it takes.
static inline int end_of_group(const QuantizedTile& tile, int first) {
    const int left = tile.taps - first;
    return first + (left < tile.taps_per_group ? left : tile.taps_per_group);
}

static inline int steps_of_group(const QuantizedTile& tile, int first) {
    const std::int64_t inputs = std::int64_t(end_of_group(tile, first) - first) * tile.channels;
    return int((inputs + kQuantizedStep - 1) / kQuantizedStep);
}

// Activation and store of one vector of output channels for all pixels; sums of one pixel lie behind
// those of another. What is the same for all pixels is in locals: the stores might change `tile`.
static inline void finish_bytes(const QuantizedTile& tile, const std::int32_t* sums, Ints bias,
                                Vector scale, int column, int lanes) {
    const float lower = tile.lower, upper = tile.upper;
    const int zero_point = tile.zero_point, count = tile.count;
    for (int row = 0; row < count; ++row, sums += kQuantizedPanel) {
        const Vector value = __builtin_convertvector(load_ints(sums) + bias, Vector) * scale;
        store_bytes(tile.quantized[row] + column, nearest(value, lower, upper) + zero_point, lanes);
    }
}

static inline void finish_floats(const QuantizedTile& tile, const std::int32_t* sums, Ints bias,
                                 Vector scale, int column, int lanes) {
    const float lower = tile.lower, upper = tile.upper;
    const Vector inverse_scale = tile.has_quantized ? load(tile.inverse_scale + column) : Vector{};
    const int count = tile.count, zero_point = tile.zero_point;
    const bool has_base = tile.has_base, has_quantized = tile.has_quantized, whole = lanes == kLanes;
    for (int row = 0; row < count; ++row, sums += kQuantizedPanel) {
        Vector value = __builtin_convertvector(load_ints(sums) + bias, Vector) * scale;
        value = rounded(value);
        if (has_base) {
            const float* base = tile.base[row] + column;
            value += whole ? load(base) : load_some(base, lanes);
        }
        value = clamp(value, lower, upper);
        if (whole)
            store(tile.out[row] + column, value);
        else
            store_some(tile.out[row] + column, value, lanes);
        if (has_quantized)
            store_bytes(tile.quantized[row] + column,
                        to_units(value, inverse_scale, zero_point), lanes);
    }
}

static inline void finish_lanes(const QuantizedTile& tile, const std::int32_t* sums, Ints bias,
                                Vector scale, int column, int lanes) {
    if (tile.has_out)
        finish_floats(tile, sums, bias, scale, column, lanes);
    else
        finish_bytes(tile, sums, bias, scale, column, lanes);
}

// Output channels of a panel that exist.
static inline int columns_of(const QuantizedTile& tile, int panel) {
    const int left = tile.outputs - panel * kQuantizedPanel;
    return left < kQuantizedPanel ? left : kQuantizedPanel;
}

// Activation and store of the sums of one panel.
static inline void finish_panel(const QuantizedTile& tile, const QuantizedWeights& weights,
                                const std::int32_t (*sums)[kQuantizedPanel], int panel) {
    const int column = panel * kQuantizedPanel, columns = columns_of(tile, panel);
    for (int n = 0; n < columns; n += kLanes) {
        const Ints bias = load_ints(weights.bias + column + n);
        const Vector scale = load(weights.scale + column + n);
        if (columns - n >= kLanes)
            finish_lanes(tile, sums[0] + n, bias, scale, column + n, kLanes);
        else
            finish_lanes(tile, sums[0] + n, bias, scale, column + n, columns - n);
    }
}

// An instruction set with matrices brings kQuantizedRows and convolve_quantized by itself.
#if defined(PAG_HAS_MATRICES)
#include "matrices.hpp"
#else

constexpr int kQuantizedRows = kTileRows;

#if defined(PAG_HAS_BLOCKS)
#include "blocks.hpp"

// Rows x (2 * kLanes) sums in registers, of the output channels from `column` of a panel on.
template <int Rows>
static void multiply_columns(const QuantizedTile& tile, const std::int8_t* weights, int column,
                             std::int32_t (*sums)[kQuantizedPanel]) {
    Twins blocks[Rows / 2][kBlocks] = {};
    const void* rows[Rows];
    for (int m = 0; m < Rows; ++m) rows[m] = tile.inputs + m * tile.stride;
    weights += column / 16 * kQuantizedHalf + column % 16 * 4;
    for (int step = 0; step < tile.steps; ++step, weights += 2 * kQuantizedHalf)
        add_step<Factor::byte>(rows, step, weights, blocks);
    for (int m = 0; m < Rows; ++m)
        for (int n = 0; n < 2; ++n)
            *reinterpret_cast<Twins*>(sums[m] + column + n * kLanes) =
                row_of(blocks[m / 2], m % 2, n);
}
#else

#if defined(PAG_MULTIPLY_BYTES)
// The instruction set multiplies bytes: sum + the products of 4 inputs and 4 signed weights in each lane.
typedef Ints Quads;
static inline Quads signed_quads(Ints bytes) { return bytes; }
static inline auto spread(std::int32_t four) {
#if defined(PAG_SPREAD)
    return PAG_SPREAD(four);
#else
    return four - Ints{};
#endif
}
template <typename Inputs>
static inline Ints add_products(Ints sum, Inputs inputs, Quads weights) {
    return PAG_MULTIPLY_BYTES(sum, inputs, weights);
}
#else
// Without it the bytes become 16 bit wide, the even ones and the odd ones.
typedef std::int16_t Shorts
    __attribute__((vector_size(PAG_VECTOR_BYTES), aligned(2), may_alias));

struct Quads {
    Shorts even, odd;
};

static inline Quads spread(std::int32_t four) {
    typedef std::uint32_t Unsigned __attribute__((vector_size(PAG_VECTOR_BYTES)));
    const Unsigned all = std::uint32_t(four) - Unsigned{};
    return {reinterpret_cast<Shorts>(all & 0x00FF00FFU),
            reinterpret_cast<Shorts>(all >> 8 & 0x00FF00FFU)};
}

static inline Quads signed_quads(Ints bytes) {
    const Shorts all = reinterpret_cast<Shorts>(bytes);
    return {all << 8 >> 8, all >> 8};
}

// The products of pairs, added; never more than 2 * 255 * 128.
static inline Ints multiply_pairs(Shorts a, Shorts b) {
#if defined(PAG_MULTIPLY_PAIRS)
    return reinterpret_cast<Ints>(PAG_MULTIPLY_PAIRS(a, b));
#else
    const Ints x = reinterpret_cast<Ints>(a), y = reinterpret_cast<Ints>(b);
    return (x << 16 >> 16) * (y << 16 >> 16) + (x >> 16) * (y >> 16);
#endif
}

static inline Ints add_products(Ints sum, Quads inputs, Quads weights) {
    return sum + multiply_pairs(inputs.even, weights.even) + multiply_pairs(inputs.odd, weights.odd);
}
#endif

// Rows x (2 * kLanes) sums in registers, of the output channels from `column` of a panel on.
template <int Rows>
static void multiply_columns(const QuantizedTile& tile, const std::int8_t* weights, int column,
                             std::int32_t (*sums)[kQuantizedPanel]) {
    constexpr int kVectors = 2;
    Ints sum[Rows][kVectors] = {};
    const std::int8_t* from[kVectors];
    for (int n = 0; n < kVectors; ++n) {
        const int at = column + n * kLanes;
        from[n] = weights + at / 16 * kQuantizedHalf + at % 16 * 4;
    }
    const std::uint8_t* inputs = tile.inputs;
    for (int step = 0; step < tile.steps; ++step, inputs += kStepOfRows) {
        const std::int64_t skipped = std::int64_t(step) * 2 * kQuantizedHalf;
        for (int group = 0; group < 16; ++group) {
            Quads weight[kVectors];
            for (int n = 0; n < kVectors; ++n)
                weight[n] = signed_quads(load_ints(from[n] + skipped + group * kQuantizedStep));
#pragma GCC unroll 12
            for (int m = 0; m < Rows; ++m) {
                typedef std::int32_t Four __attribute__((aligned(1), may_alias));
                const Four four =
                    *reinterpret_cast<const Four*>(inputs + m * kQuantizedStep + group * 4);
                const auto input = spread(four);
#pragma GCC unroll 2
                for (int n = 0; n < kVectors; ++n)
                    sum[m][n] = add_products(sum[m][n], input, weight[n]);
            }
        }
    }
    for (int m = 0; m < Rows; ++m)
        for (int n = 0; n < kVectors; ++n)
            *reinterpret_cast<Ints*>(sums[m] + column + n * kLanes) = sum[m][n];
}
#endif

static void multiply(const QuantizedTile& tile, const std::int8_t* weights, int columns,
                     std::int32_t (*sums)[kQuantizedPanel]) {
    constexpr int kThird = kTileRows / 3;
    for (int column = 0; column < columns; column += 2 * kLanes) {
        if (tile.count > 2 * kThird)
            multiply_columns<kTileRows>(tile, weights, column, sums);
        else if (tile.count > kThird)
            multiply_columns<2 * kThird>(tile, weights, column, sums);
        else
            multiply_columns<kThird>(tile, weights, column, sums);
    }
}

static void convolve_quantized(const QuantizedTile& tile, const QuantizedWeights& weights) {
    std::int64_t at = 0;
    for (int first = 0; first < tile.taps; first = end_of_group(tile, first)) {
        for (int tap = first; tap < end_of_group(tile, first); ++tap)
            gather_tap(tile, tap, at + std::int64_t(tap - first) * tile.channels);
        at += std::int64_t(steps_of_group(tile, first)) * kQuantizedStep;
    }
    auto* sums = reinterpret_cast<std::int32_t(*)[kQuantizedPanel]>(tile.sums);
    const std::int64_t panel_bytes = std::int64_t(tile.steps) * 2 * kQuantizedHalf;
    const std::int8_t* packed = weights.packed + tile.first_panel * panel_bytes;
    for (int panel = tile.first_panel; panel < tile.end_panel; ++panel) {
        multiply(tile, packed, columns_of(tile, panel), sums);
        finish_panel(tile, weights, sums, panel);
        packed += panel_bytes;
    }
}

#endif
