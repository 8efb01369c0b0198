// Products of matrices of bytes on AMX; a part of quantized_routines.hpp.

constexpr int kQuantizedRows = 32;

// Two tiles of pixels (4, 5) meet two of output channels (6, 7): four tiles of sums (0 to 3).
struct TileConfiguration {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

alignas(64) static const TileConfiguration kConfiguration{};

// The tiles belong to the thread: another library may have left them in another form, and the kernel
// saves them at every change of threads until they are released.
static inline void begin_tile() { _tile_loadconfig(&kConfiguration); }
static inline void end_tile() { _tile_release(); }

// Adds the products of some steps of the gathered inputs to the tiles of sums.
//
// The weights pass by once for every tile, the inputs stay: streaming loads keep the weights from pushing
// the inputs out of the first-level cache.
template <bool TwoRows>
static inline void add_steps(const QuantizedTile& tile, const std::int8_t* weights, int first,
                             int last) {
    // The compiler does not know that tiles are loaded from memory.
    asm volatile("" ::: "memory");
    const std::int64_t stride = tile.stride;
    const std::uint8_t* inputs = tile.inputs + first * kQuantizedStep;
    const std::uint8_t* below = inputs + 16 * stride;
    weights += std::int64_t(first) * 2 * kQuantizedHalf;
    for (int step = first; step < last; ++step) {
        _tile_stream_loadd(6, weights, 64);
        _tile_stream_loadd(7, weights + kQuantizedHalf, 64);
        _tile_loadd(4, inputs, stride);
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        if (TwoRows) {
            _tile_loadd(5, below, stride);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
        inputs += kQuantizedStep;
        below += kQuantizedStep;
        weights += 2 * kQuantizedHalf;
    }
}

// The first panel multiplies what is gathered while the next tap is: the processor does both at once.
template <bool TwoRows>
static inline void gather_and_add(const QuantizedTile& tile, const std::int8_t* weights, int first) {
    const int last = end_of_group(tile, first) - 1;
    const std::int64_t channels = tile.channels;
    int done = 0;
    gather_tap(tile, first, 0);
    for (int tap = first; tap < last; ++tap) {
        const std::int64_t gathered = (tap + 1 - first) * channels;
        gather_tap(tile, tap + 1, gathered);
        const int complete = int(gathered / kQuantizedStep);
        add_steps<TwoRows>(tile, weights, done, complete);
        done = complete;
    }
    add_steps<TwoRows>(tile, weights, done, steps_of_group(tile, first));
}

// The sums of one panel: zeros at the first group of taps, else what the groups before left in memory.
template <bool TwoRows>
static inline void load_sums(const std::int32_t (*sums)[kQuantizedPanel], bool zero) {
    if (zero) {
        _tile_zero(0);
        _tile_zero(1);
        if (TwoRows) {
            _tile_zero(2);
            _tile_zero(3);
        }
        return;
    }
    asm volatile("" ::: "memory");
    _tile_loadd(0, sums[0], sizeof sums[0]);
    _tile_loadd(1, sums[0] + 16, sizeof sums[0]);
    if (TwoRows) {
        _tile_loadd(2, sums[16], sizeof sums[0]);
        _tile_loadd(3, sums[16] + 16, sizeof sums[0]);
    }
}

template <bool TwoRows>
static inline void store_sums(std::int32_t (*sums)[kQuantizedPanel]) {
    _tile_stored(0, sums[0], sizeof sums[0]);
    _tile_stored(1, sums[0] + 16, sizeof sums[0]);
    if (TwoRows) {
        _tile_stored(2, sums[16], sizeof sums[0]);
        _tile_stored(3, sums[16] + 16, sizeof sums[0]);
    }
}

// Group after group of taps: the gathered inputs of one stay in the first-level cache while all panels
// pass by; those of all taps would not.
template <bool TwoRows>
static void convolve_rows(const QuantizedTile& tile, const QuantizedWeights& weights) {
    auto* all_sums = reinterpret_cast<std::int32_t(*)[kQuantizedRows][kQuantizedPanel]>(tile.sums);
    const int first_panel = tile.first_panel, end_panel = tile.end_panel;
    int done = 0;
    for (int first = 0; first < tile.taps; first = end_of_group(tile, first)) {
        const int steps = steps_of_group(tile, first);
        for (int panel = first_panel; panel < end_panel; ++panel) {
            auto* sums = all_sums[panel - first_panel];
            const std::int64_t before = std::int64_t(panel) * tile.steps + done;
            const std::int8_t* packed = weights.packed + before * 2 * kQuantizedHalf;
            load_sums<TwoRows>(sums, first == 0);
            if (panel == first_panel)
                gather_and_add<TwoRows>(tile, packed, first);
            else
                add_steps<TwoRows>(tile, packed, 0, steps);
            store_sums<TwoRows>(sums);
            // A panel is finished while the next one is multiplied: the processor does both at once.
            if (done + steps == tile.steps && panel > first_panel)
                finish_panel(tile, weights, all_sums[panel - 1 - first_panel], panel - 1);
        }
        done += steps;
    }
    finish_panel(tile, weights, all_sums[end_panel - 1 - first_panel], end_panel - 1);
}

static void convolve_quantized(const QuantizedTile& tile, const QuantizedWeights& weights) {
    begin_tile();
    if (tile.count > 16)
        convolve_rows<true>(tile, weights);
    else
        convolve_rows<false>(tile, weights);
    end_tile();
}
