// The routines of one instruction set, in the compiler's own vector extensions.
//
// Included once by every isa_*.cpp, inside a namespace of its own, after PAG_VECTOR_BYTES,
// PAG_TILE_ROWS and PAG_ISA_NAME are defined. It must use no function of a library: such a function
// would be compiled for this instruction set and then be shared with code that runs everywhere.

// May lie anywhere and alias floats.
typedef float Vector __attribute__((vector_size(PAG_VECTOR_BYTES), aligned(4), may_alias));

constexpr int kLanes = PAG_VECTOR_BYTES / 4;
constexpr int kPanel = 2 * kLanes;
constexpr int kTileRows = PAG_TILE_ROWS;

static inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

static inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

static inline Vector broadcast(float value) { return value - Vector{}; }

static inline Vector clamp(Vector value, float lower, float upper) {
    const Vector low = broadcast(lower), high = broadcast(upper);
    value = value < low ? low : value;
    return value > high ? high : value;
}

static inline Vector load_some(const float* from, int lanes) {
    Vector value{};
    for (int lane = 0; lane < lanes; ++lane) value[lane] = from[lane];
    return value;
}

static inline void store_some(float* to, Vector value, int lanes) {
    for (int lane = 0; lane < lanes; ++lane) to[lane] = value[lane];
}

// Base, activation and store of one pixel's vector of results; `lanes` of it exist.
static inline void finish(const Tile& tile, int row, int column, int lanes, Vector value) {
    float* out = static_cast<float*>(tile.out[row]);
    if (lanes >= kLanes) {
        if (tile.has_base) value += load(tile.base[row] + column);
        store(out + column, clamp(value, tile.lower, tile.upper));
    } else if (lanes > 0) {
        if (tile.has_base) value += load_some(tile.base[row] + column, lanes);
        store_some(out + column, clamp(value, tile.lower, tile.upper), lanes);
    }
}

// Weights come from the second-level cache. Vectors of a whole line want them faster than a processor fetches
// them unasked, so they are asked for, by so many input channels ahead; with narrower ones it only costs.
constexpr bool kAsks = PAG_VECTOR_BYTES == 64;
constexpr int kAhead = 24;

// Rows x (Vectors * kLanes) results, all sums in registers: one broadcast of an input channel meets
// the weights of all output channels, the weights of one input channel meet all pixels.
template <int Rows, int Vectors>
static void convolve_block(const Tile& tile, const float* weights, const float* bias, int column,
                           int columns) {
    Vector sum[Rows][Vectors];
    for (int n = 0; n < Vectors; ++n)
        for (int m = 0; m < Rows; ++m) sum[m][n] = load(bias + n * kLanes);

    const std::int64_t channels = tile.channels;
    for (int tap = 0; tap < tile.taps; ++tap) {
        if (!(tile.live_taps >> tap & 1)) {
            weights += channels * kPanel;
            continue;
        }
        const float* row[Rows];
        for (int m = 0; m < Rows; ++m)
            row[m] = static_cast<const float*>(tile.rows[tap][m]) + channels;
        // Up to zero and with no other product than this sum: rows, weights and c then fit into the 15 registers
        // of x86 that are free.
        for (std::int64_t c = -channels; c != 0; ++c, weights += kPanel) {
            Vector weight[Vectors];
            for (int n = 0; n < Vectors; ++n) {
                weight[n] = load(weights + n * kLanes);
                if (kAsks) __builtin_prefetch(weights + kAhead * kPanel + n * kLanes);
            }
#pragma GCC unroll 12
            for (int m = 0; m < Rows; ++m) {
                const Vector input = broadcast(row[m][c]);
#pragma GCC unroll 2
                for (int n = 0; n < Vectors; ++n) sum[m][n] += input * weight[n];
            }
        }
    }
    for (int m = 0; m < Rows && m < tile.count; ++m)
        for (int n = 0; n < Vectors; ++n)
            finish(tile, m, column + n * kLanes, columns - n * kLanes, sum[m][n]);
}

template <int Vectors>
static void convolve_rows(const Tile& tile, const float* weights, const float* bias, int column,
                          int columns) {
    // Three sizes keep the last tile's cost near its share.
    constexpr int kThird = kTileRows / 3;
    if (tile.count > 2 * kThird)
        convolve_block<kTileRows, Vectors>(tile, weights, bias, column, columns);
    else if (tile.count > kThird)
        convolve_block<2 * kThird, Vectors>(tile, weights, bias, column, columns);
    else
        convolve_block<kThird, Vectors>(tile, weights, bias, column, columns);
}

static void convolve(const Tile& tile, const float* weights, const float* bias, int column,
                     int columns) {
    if (columns > kLanes)
        convolve_rows<2>(tile, weights, bias, column, columns);
    else
        convolve_rows<1>(tile, weights, bias, column, columns);
}

static void convolve_depthwise(const Tile& tile, const float* weights, const float* bias) {
    const int channels = tile.channels;
    for (int m = 0; m < tile.count; ++m) {
        for (int c = 0; c < channels; c += kLanes) {
            const int lanes = channels - c < kLanes ? channels - c : kLanes;
            const bool whole = lanes == kLanes;
            Vector sum = whole ? load(bias + c) : load_some(bias + c, lanes);
            for (int tap = 0; tap < tile.taps; ++tap) {
                const float* input = static_cast<const float*>(tile.rows[tap][m]) + c;
                const float* weight = weights + tap * channels + c;
                if (whole)
                    sum += load(input) * load(weight);
                else
                    sum += load_some(input, lanes) * load_some(weight, lanes);
            }
            finish(tile, m, c, lanes, sum);
        }
    }
}

// e^x for x <= 0, to one part in 1e6; 0 below -87. By 2^n times a polynomial (Cephes' expf).
static inline Vector exp_of_negative(Vector x) {
    typedef std::int32_t Integers __attribute__((vector_size(PAG_VECTOR_BYTES)));
    const Vector lowest = broadcast(-87.0F);
    const Integers counts = x >= lowest;
    x = x < lowest ? lowest : x;
    const Integers n = __builtin_convertvector(x * 1.44269504F - 0.5F, Integers);
    const Vector whole = __builtin_convertvector(n, Vector);
    const Vector r = (x - whole * 0.693359375F) + whole * 2.12194440e-4F;
    Vector p = broadcast(1.9875691500e-4F);
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    const Integers bits = (reinterpret_cast<Integers>(p) + (n << 23)) & counts;
    return reinterpret_cast<Vector>(bits);
}

// kLanes pixels from x on; all of them can be read.
static inline void classify_lanes(const float* upper, const float* lower, float share, int classes,
                                  int stride, Vector& best, Vector& sum) {
    Vector top{};
    best = Vector{};
    for (int k = 0; k < classes; ++k) {
        const Vector above = load(upper + k * stride), below = load(lower + k * stride);
        const Vector logit = above + (below - above) * share;
        if (k == 0) {
            top = logit;
        } else {
            best = logit > top ? broadcast(float(k)) : best;
            top = logit > top ? logit : top;
        }
    }
    sum = Vector{};
    for (int k = 0; k < classes; ++k) {
        const Vector above = load(upper + k * stride), below = load(lower + k * stride);
        sum += exp_of_negative(above + (below - above) * share - top);
    }
}

#include "quantized_routines.hpp"

// `stride` leaves room to read whole vectors at the end of a row.
static void classify(const float* upper, const float* lower, float share, int classes, int stride,
                     int width, std::uint8_t* labels, float* confidence) {
    for (int x = 0; x < width; x += kLanes) {
        Vector best, sum;
        classify_lanes(upper + x, lower + x, share, classes, stride, best, sum);
        const Vector probability = broadcast(1.0F) / sum;
        const int lanes = width - x < kLanes ? width - x : kLanes;
        if (lanes == kLanes)
            store(confidence + x, probability);
        else
            store_some(confidence + x, probability, lanes);
        store_bytes(labels + x, __builtin_convertvector(best, Ints), lanes);
    }
}

// e^x to one part in 1e6; infinite above 87, and no number of no number.
static inline Vector exp_of(Vector x) {
    const Vector power = exp_of_negative(x > 0.0F ? -x : x);
    const Vector result = x > 0.0F ? broadcast(1.0F) / power : power;
    return x == x ? result : x;
}

// 1 / sqrt(x), x > 0, to one part in 1e6: an estimate from the exponent, and Newton's steps.
static inline Vector inverse_root(Vector x) {
    typedef std::int32_t Integers __attribute__((vector_size(PAG_VECTOR_BYTES)));
    Vector y = reinterpret_cast<Vector>(0x5f375a86 - (reinterpret_cast<Integers>(x) >> 1));
    const Vector half = x * 0.5F;
    for (int step = 0; step < 3; ++step) y = y * (1.5F - half * y * y);
    return y;
}

// A vector of values at column `x` between two rows.
static Vector between(const float* upper, const float* lower, float share, int x) {
    const Vector above = load(upper + x), below = load(lower + x);
    return above + (below - above) * share;
}

static void exponentials(const float* upper, const float* lower, float share, int width,
                         float* out) {
    for (int x = 0; x < width; x += kLanes) {
        const Vector value = exp_of(between(upper, lower, share, x));
        if (width - x >= kLanes)
            store(out + x, value);
        else
            store_some(out + x, value, width - x);
    }
}

static void unit_vectors(const float* upper, const float* lower, float share, int stride,
                         int width, float least, float* out) {
    const Vector smallest = broadcast(least * least), largest = broadcast(1.0F / least);
    for (int x = 0; x < width; x += kLanes) {
        Vector value[3];
        for (int k = 0; k < 3; ++k)
            value[k] = between(upper + k * stride, lower + k * stride, share, x);
        const Vector squared =
            value[0] * value[0] + value[1] * value[1] + value[2] * value[2];
        const Vector factor = squared > smallest ? inverse_root(squared) : largest;
        for (int k = 0; k < 3; ++k) value[k] *= factor;
        const int lanes = width - x < kLanes ? width - x : kLanes;
        float* to = out + 3 * x;
        for (int lane = 0; lane < lanes; ++lane)
            for (int k = 0; k < 3; ++k) to[3 * lane + k] = value[k][lane];
    }
}

static void score(const float* x, int pixels, int channels, const float* gate, float bias,
                  float* scores) {
    for (int pixel = 0; pixel < pixels; ++pixel, x += channels) {
        Vector sum{};
        int c = 0;
        for (; c + kLanes <= channels; c += kLanes) sum += load(x + c) * load(gate + c);
        if (c < channels)
            sum += load_some(x + c, channels - c) * load_some(gate + c, channels - c);
        float total = bias;
        for (int lane = 0; lane < kLanes; ++lane) total += sum[lane];
        scores[pixel] = total;
    }
}

static double multiply_add(int rounds, float* sink) {
    // As many sums as a tile has: enough to hide the latency of one multiply-add.
    constexpr int kSums = 2 * kTileRows;
    Vector sum[kSums];
    for (int i = 0; i < kSums; ++i) sum[i] = broadcast(float(i));
    const Vector factor = broadcast(0.999F), step = broadcast(0.001F);
    for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
        for (int i = 0; i < kSums; ++i) sum[i] = sum[i] * factor + step;
    }
    Vector total{};
    for (int i = 0; i < kSums; ++i) total += sum[i];
    for (int lane = 0; lane < kLanes; ++lane) *sink += total[lane];
    return 2.0 * kSums * kLanes * rounds;
}

#include "bf16_routines.hpp"

extern const Isa kIsa{
    PAG_ISA_NAME, kTileRows, kPanel,       convolve,
    convolve_depthwise,      classify,     exponentials,
    unit_vectors, score,        multiply_add,
    {kQuantizedRows, kInputShift, convolve_quantized, quantize},
    {kBf16Rows, kMultipliesBf16, convolve_bf16, convolve_depthwise_bf16, round_row}};
