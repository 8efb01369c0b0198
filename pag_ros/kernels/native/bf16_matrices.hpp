// Products of matrices of bf16 on AMX; a part of bf16_routines.hpp. Tiles are set up as for bytes.

constexpr int kBf16Rows = 32;
constexpr bool kMultipliesBf16 = true;

// Where the inputs of one tap lie, for each half of the pixels.
struct TapInputs {
    const Bf16* from[2];
    std::int64_t stride[2];  // in bytes, from pixel to pixel
};

// Rows that follow one another with the same distance need not be gathered. Those of the pixels that a
// tile lacks may be anything, but there must be memory.
static inline bool are_regular(const void* const* rows, int count, std::int64_t stride) {
    const char* first = static_cast<const char*>(rows[0]);
    bool regular = true;
    for (int m = 1; m < count; ++m) regular &= rows[m] == first + m * stride;
    return regular;
}

static inline void copy_rows(const void* const* rows, int count, int padded, Bf16* to,
                             std::int64_t stride) {
    for (int m = 0; m < count; ++m, to += stride / 2) {
        const Bf16* from = static_cast<const Bf16*>(rows[m]);
        for (int c = 0; c < padded; c += kBf16Step)
            _mm512_store_si512(to + c, _mm512_load_si512(from + c));
    }
}

// Find the channels of one tap of all pixels, or bring them together in the given place of a block.
static inline void gather_tap(const Tile& tile, int tap, int place, TapInputs& inputs) {
    const int padded = padded_to_steps(tile.channels);
    const std::int64_t from_stride = padded * std::int64_t(sizeof(Bf16));
    // An odd number of lines: else the rows of a tile would share few sets of the cache.
    const std::int64_t to_stride = from_stride | 64;
    for (int half = 0; half * 16 < tile.count; ++half) {
        const void* const* rows = tile.rows[tap] + half * 16;
        const int left = tile.count - half * 16, count = left < 16 ? left : 16;
        if (are_regular(rows, count, from_stride)) {
            inputs.from[half] = static_cast<const Bf16*>(rows[0]);
            inputs.stride[half] = from_stride;
        } else {
            Bf16* to = tile.gathered + (place * 32 + half * 16) * (to_stride / 2);
            copy_rows(rows, count, padded, to, to_stride);
            inputs.from[half] = to;
            inputs.stride[half] = to_stride;
        }
    }
}

// Adds the products of one tap to the tiles of sums. The weights pass by once for every tile, see
// `add_steps`.
template <bool TwoRows>
static inline void add_tap(const TapInputs& inputs, const Bf16* weights, int steps) {
    // The compiler does not know that tiles are loaded from memory.
    asm volatile("" ::: "memory");
    const Bf16 *above = inputs.from[0], *below = TwoRows ? inputs.from[1] : nullptr;
    for (int step = 0; step < steps; ++step) {
        _tile_loadd(4, above, inputs.stride[0]);
        _tile_stream_loadd(6, weights, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_stream_loadd(7, weights + kBf16Half, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (TwoRows) {
            _tile_loadd(5, below, inputs.stride[1]);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            below += kBf16Step;
        }
        above += kBf16Step;
        weights += 2 * kBf16Half;
    }
}

// The taps that a tile has.
struct LiveTaps {
    int count = 0;
    int taps[kMaxTaps];
};

static inline LiveTaps list_live_taps(const Tile& tile) {
    LiveTaps live;
    for (int tap = 0; tap < tile.taps; ++tap)
        if (tile.live_taps >> tap & 1) live.taps[live.count++] = tap;
    return live;
}

template <bool TwoRows>
static inline void begin_sums(const float (*sums)[kBf16Panel], bool from_zero) {
    if (from_zero) {
        _tile_zero(0);
        _tile_zero(1);
        if (TwoRows) _tile_zero(2);
        if (TwoRows) _tile_zero(3);
    } else {
        _tile_loadd(0, sums[0], sizeof sums[0]);
        _tile_loadd(1, sums[0] + 16, sizeof sums[0]);
        if (TwoRows) _tile_loadd(2, sums[16], sizeof sums[0]);
        if (TwoRows) _tile_loadd(3, sums[16] + 16, sizeof sums[0]);
    }
}

template <bool TwoRows>
static inline void store_sums(float (*sums)[kBf16Panel]) {
    _tile_stored(0, sums[0], sizeof sums[0]);
    _tile_stored(1, sums[0] + 16, sizeof sums[0]);
    if (TwoRows) _tile_stored(2, sums[16], sizeof sums[0]);
    if (TwoRows) _tile_stored(3, sums[16] + 16, sizeof sums[0]);
}

// Adds the taps of one block to the tiles of sums. The first panel gathers a tap while the one before
// is multiplied: the processor does both at once.
template <bool TwoRows>
static inline void add_block(const Tile& tile, const int* taps, int count, TapInputs* inputs,
                             const Bf16* weights, bool gathered) {
    const int steps = padded_to_steps(tile.channels) / kBf16Step;
    const std::int64_t tap_weights = std::int64_t(steps) * 2 * kBf16Half;
    if (!gathered) gather_tap(tile, taps[0], 0, inputs[0]);
    for (int i = 0; i < count; ++i) {
        if (!gathered && i + 1 < count) gather_tap(tile, taps[i + 1], i + 1, inputs[i + 1]);
        add_tap<TwoRows>(inputs[i], weights + taps[i] * tap_weights, steps);
    }
}

// Bias, activation and store of the sums of one panel, `columns` of them. What is the same for all
// pixels is in locals: the stores might change `tile`.
static inline void finish_rounded(const Tile& tile, const float (*sums)[kBf16Panel],
                                  const float* bias, int column) {
    const Vector bias0 = load(bias), bias1 = load(bias + kLanes);
    const float lower = tile.lower, upper = tile.upper;
    const int count = tile.count;
    for (int m = 0; m < count; ++m) {
        Bf16* out = static_cast<Bf16*>(tile.out[m]) + column;
        store_bf16(out, clamp(load(sums[m]) + bias0, lower, upper));
        store_bf16(out + kLanes, clamp(load(sums[m] + kLanes) + bias1, lower, upper));
    }
}

static inline void finish_panel(const Tile& tile, const float (*sums)[kBf16Panel],
                                const float* bias, int column, int columns) {
    if (tile.rounds) {
        finish_rounded(tile, sums, bias, column);
        return;
    }
    for (int n = 0; n < kBf16Panel && n < columns; n += kLanes) {
        const Vector own_bias = load(bias + n);
        for (int m = 0; m < tile.count; ++m)
            finish(tile, m, column + n, columns - n, load(sums[m] + n) + own_bias);
    }
}

// The inputs of one block of taps meet all panels before the next one is gathered, so that they stay in
// the first-level cache. Meanwhile the sums of the panels wait in memory.
template <bool TwoRows>
static inline void convolve_blocks(const Tile& tile, const Bf16* weights, const float* bias,
                                   int column, int end) {
    const LiveTaps live = list_live_taps(tile);
    const int block = bf16_taps_per_block(tile.channels);
    const std::int64_t panel = std::int64_t(tile.taps) * padded_to_steps(tile.channels) * kBf16Panel;
    TapInputs inputs[kMaxTaps];
    for (int first = 0; first < live.count; first += block) {
        const int left = live.count - first, count = left < block ? left : block;
        for (int n = column; n < end; n += kBf16Panel) {
            const int at = (n - column) / kBf16Panel;
            float(*sums)[kBf16Panel] = reinterpret_cast<float(*)[kBf16Panel]>(tile.sums) + at * 32;
            begin_sums<TwoRows>(sums, first == 0);
            add_block<TwoRows>(tile, live.taps + first, count, inputs, weights + at * panel, at > 0);
            store_sums<TwoRows>(sums);
            if (count == left) finish_panel(tile, sums, bias + n - column, n, end - n);
        }
    }
}

static void convolve_bf16(const Tile& tile, const Bf16* weights, const float* bias, int column,
                          int end) {
    begin_tile();
    if (tile.count > 16)
        convolve_blocks<true>(tile, weights, bias, column, end);
    else
        convolve_blocks<false>(tile, weights, bias, column, end);
    end_tile();
}
