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

// Adds the products of the steps first .. last to the tiles of sums.
//
// The weights pass by once for every tile, the inputs stay: streaming loads keep the weights from pushing
// the inputs out of the first-level cache, a fifth of the time.
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
        _tile_loadd(4, inputs, stride);
        _tile_stream_loadd(6, weights, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_stream_loadd(7, weights + kQuantizedHalf, 64);
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

// The first panel multiplies what is gathered while the next tap is: the processor does both at once,
// and finds the rows in the first-level cache.
template <bool TwoRows>
static inline void gather_and_add(const QuantizedTile& tile, const std::int8_t* weights) {
    const int last = tile.taps - 1;
    int done = 0;
    gather_tap(tile, 0);
    for (int tap = 0; tap < last; ++tap) {
        gather_tap(tile, tap + 1);
        const int complete = int(std::int64_t(tap + 1) * tile.channels / kQuantizedStep);
        add_steps<TwoRows>(tile, weights, done, complete);
        done = complete;
    }
    add_steps<TwoRows>(tile, weights, done, tile.steps);
}

template <bool TwoRows>
static inline void multiply_rows(const QuantizedTile& tile, const std::int8_t* weights,
                                 bool gathered, std::int32_t (*sums)[kQuantizedPanel]) {
    _tile_zero(0);
    _tile_zero(1);
    if (TwoRows) {
        _tile_zero(2);
        _tile_zero(3);
    }
    if (gathered)
        add_steps<TwoRows>(tile, weights, 0, tile.steps);
    else
        gather_and_add<TwoRows>(tile, weights);
    _tile_stored(0, sums[0], sizeof sums[0]);
    _tile_stored(1, sums[0] + 16, sizeof sums[0]);
    if (TwoRows) {
        _tile_stored(2, sums[16], sizeof sums[0]);
        _tile_stored(3, sums[16] + 16, sizeof sums[0]);
    }
}

static void multiply(const QuantizedTile& tile, const std::int8_t* weights, int, bool gathered,
                     std::int32_t (*sums)[kQuantizedPanel]) {
    if (tile.count > 16)
        multiply_rows<true>(tile, weights, gathered, sums);
    else
        multiply_rows<false>(tile, weights, gathered, sums);
}
