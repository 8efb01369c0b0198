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

// Find the channels of one tap of all pixels, or bring them together.
static inline void gather_tap(const Tile& tile, int tap, TapInputs& inputs) {
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
            Bf16* to = tile.gathered + (tap * 32 + half * 16) * (to_stride / 2);
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

// The sums of one panel. The first one gathers a tap while the tap before is multiplied: the processor
// does both at once.
template <bool TwoRows>
static inline void sum_panel(const Tile& tile, const LiveTaps& live, TapInputs* inputs,
                             const Bf16* weights, bool gathered, float (*sums)[kBf16Panel]) {
    const int steps = padded_to_steps(tile.channels) / kBf16Step;
    const std::int64_t tap_weights = std::int64_t(steps) * 2 * kBf16Half;
    _tile_zero(0);
    _tile_zero(1);
    if (TwoRows) {
        _tile_zero(2);
        _tile_zero(3);
    }
    if (!gathered && live.count > 0) gather_tap(tile, live.taps[0], inputs[0]);
    for (int i = 0; i < live.count; ++i) {
        if (!gathered && i + 1 < live.count) gather_tap(tile, live.taps[i + 1], inputs[i + 1]);
        add_tap<TwoRows>(inputs[i], weights + live.taps[i] * tap_weights, steps);
    }
    _tile_stored(0, sums[0], sizeof sums[0]);
    _tile_stored(1, sums[0] + 16, sizeof sums[0]);
    if (TwoRows) {
        _tile_stored(2, sums[16], sizeof sums[0]);
        _tile_stored(3, sums[16] + 16, sizeof sums[0]);
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

static void convolve_bf16(const Tile& tile, const Bf16* weights, const float* bias, int column,
                          int end) {
    alignas(64) float sums[kBf16Rows][kBf16Panel];
    TapInputs inputs[kMaxTaps];
    const LiveTaps live = list_live_taps(tile);
    const std::int64_t panel = std::int64_t(tile.taps) * padded_to_steps(tile.channels) * kBf16Panel;
    bool gathered = false;
    begin_tile();
    for (; column < end; column += kBf16Panel, weights += panel, bias += kBf16Panel) {
        if (tile.count > 16)
            sum_panel<true>(tile, live, inputs, weights, gathered, sums);
        else
            sum_panel<false>(tile, live, inputs, weights, gathered, sums);
        finish_panel(tile, sums, bias, column, end - column);
        gathered = true;
    }
    end_tile();
}
