#include "quantized.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace pag {

namespace {

constexpr int kPartsPerThread = 16;
// Weights of one group of panels stay in a core's second-level cache while all pixels pass by.
constexpr std::size_t kGroupBytes = 640 * 1024;
// Inputs of a pixel to gather at a time: those of the most rows of a tile fill half the first-level cache.
constexpr int kGroupInputs = 640;

// Where a layer finds the channels of a pixel.
struct Source {
    const std::uint8_t* rows;
    const std::int32_t* position;  // of a pixel among the rows, or null: rows are pixels
    const std::uint8_t* zeros;     // a row that stands for zeros
    int channels;

    const std::uint8_t* row(int pixel) const {
        const std::size_t at = position == nullptr ? pixel : position[pixel];
        return rows + at * channels;
    }
};

// Where a layer puts its results: into compact rows, or where those are null into the job's maps.
struct Target {
    std::uint8_t* rows;
    int zero_point;       // of the rows, or of the job's next stream
    const float* inverse_scale;  // of the job's next stream
};

// Memory of a thread for the gathered inputs of a tile.
std::uint8_t* room(std::size_t bytes) {
    thread_local AlignedVector<std::uint8_t> memory;
    if (memory.size() < bytes) memory.assign(bytes, 0);
    return memory.data();
}

// One layer of one run.
class Pass {
   public:
    Pass(const QuantizedLayer& layer, const Job& job, const Source& source, const Target& target,
         bool residual, const std::int32_t* order = nullptr)
        : layer_(layer),
          job_(job),
          source_(source),
          target_(target),
          residual_(residual),
          order_(order) {}

    // Positions first .. first + count of the list, output channels of one group.
    void compute(int first, int count, int group) const {
        QuantizedTile tile;
        tile.steps = layer_.steps();
        // An odd number of lines: else the rows of a tile would share few sets of the cache.
        tile.stride = std::int64_t(tile.steps | 1) * kCacheLine;
        const int tile_rows = routines().tile_rows;
        const std::size_t input_bytes = std::size_t(tile.stride) * tile_rows;
        tile.first_panel = group * layer_.panels_per_group();
        tile.end_panel = std::min(tile.first_panel + layer_.panels_per_group(), layer_.panels());
        const std::size_t sums =
            std::size_t(layer_.panels_per_group()) * tile_rows * kQuantizedPanel;
        tile.inputs = room(input_bytes + sums * sizeof(std::int32_t));
        tile.sums = reinterpret_cast<std::int32_t*>(tile.inputs + input_bytes);
        tile.count = count;
        tile.taps = layer_.taps();
        tile.taps_per_group = layer_.taps_per_group();
        tile.channels = source_.channels;
        tile.outputs = layer_.form.outputs;
        tile.has_out = target_.rows == nullptr;
        tile.has_base = residual_;
        tile.has_quantized = !tile.has_out || job_.next_stream != nullptr;
        tile.inverse_scale = target_.inverse_scale;
        set_limits(tile);
        // Lists ascend as a rule, so the pixel before is in the same line of the map: no division.
        int y = 0, line = 0;
        for (int m = 0; m < count; ++m) {
            const int pixel = job_.index[at(first + m)];
            if (pixel < line || pixel - line >= job_.width) {
                y = pixel / job_.width;
                line = y * job_.width;
            }
            aim_inputs(tile, m, y, pixel - line);
            aim_results(tile, m, at(first + m));
        }
        routines().convolve(tile, layer_.weights());
    }

    // A pixel whose input takes the convolution's place.
    void pass_through(int place) const {
        const int position = at(place);
        const std::size_t pixel = job_.index[position], outputs = layer_.form.outputs;
        const std::uint8_t* from = source_.row(int(pixel));
        for (std::size_t c = 0; c < outputs; ++c) {
            float value = float(from[c] - layer_.form.zero_point) * layer_.passed(int(c));
            if (target_.rows != nullptr) {
                if (layer_.form.relu) value = std::max(value, 0.0F);
                target_.rows[position * outputs + c] = in_units(value);
                continue;
            }
            if (residual_) value += job_.base[pixel * outputs + c];
            if (layer_.form.relu) value = std::max(value, 0.0F);
            job_.out[pixel * outputs + c] = value;
            if (job_.next_stream != nullptr)
                job_.next_stream[pixel * outputs + c] = in_units(value * target_.inverse_scale[c]);
        }
    }

   private:
    std::uint8_t in_units(float value) const {
        // A comparison with NaN is false, so that NaN becomes the lowest unit.
        const float zero = float(target_.zero_point);
        value = value > -zero ? value : -zero;
        value = value < 255.0F - zero ? value : 255.0F - zero;
        return std::uint8_t(std::nearbyint(value) + zero);
    }

    int at(int place) const { return order_ == nullptr ? place : order_[place]; }

    int dilation_at(int pixel) const {
        return layer_.form.by_map ? job_.dilation_map[pixel] : layer_.form.dilation;
    }

    const QuantizedRoutines& routines() const { return layer_.isa().quantized; }

    void set_limits(QuantizedTile& tile) const {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        tile.zero_point = target_.zero_point;
        const float lowest = tile.has_out ? -kInfinity : float(-target_.zero_point);
        tile.lower = layer_.form.relu ? 0.0F : lowest;
        tile.upper = tile.has_out ? kInfinity : float(255 - target_.zero_point);
    }

    // Point row m of the tile to the taps of one pixel.
    void aim_inputs(QuantizedTile& tile, int m, int y, int x) const {
        const std::int64_t dilation = dilation_at(y * job_.width + x);
        const std::int64_t reach = std::int64_t(layer_.form.kernel / 2) * dilation;
        const bool inside =
            y >= reach && x >= reach && y + reach < job_.height && x + reach < job_.width;
        if (!inside)
            aim_at_border(tile, m, y, x, dilation);
        else if (source_.position == nullptr)
            aim_inside(tile, m, y, x, dilation, [](std::int64_t at) { return at; });
        else
            aim_inside(tile, m, y, x, dilation,
                       [this](std::int64_t at) { return source_.position[at]; });
    }

    // position: of a pixel among the rows of the source.
    template <typename Position>
    void aim_inside(QuantizedTile& tile, int m, int y, int x, std::int64_t dilation,
                    const Position& position) const {
        // With a size that the compiler knows it takes three quarters of the time.
        if (layer_.form.kernel == 1)
            aim_window<1>(tile, m, y, x, dilation, position);
        else if (layer_.form.kernel == 3)
            aim_window<3>(tile, m, y, x, dilation, position);
        else
            aim_window<5>(tile, m, y, x, dilation, position);
    }

    template <int Kernel, typename Position>
    void aim_window(QuantizedTile& tile, int m, int y, int x, std::int64_t dilation,
                    const Position& position) const {
        const std::int64_t channels = source_.channels;
        const std::int64_t width = job_.width, middle = y * width + x;
        const std::uint8_t* rows = source_.rows;
        for (int row = 0; row < Kernel; ++row)
            for (int column = 0; column < Kernel; ++column) {
                const std::int64_t away = (row - Kernel / 2) * width + column - Kernel / 2;
                tile.rows[row * Kernel + column][m] = rows + position(middle + away * dilation) * channels;
            }
    }

    void aim_at_border(QuantizedTile& tile, int m, int y, int x, std::int64_t dilation) const {
        const int kernel = layer_.form.kernel;
        int tap = 0;
        for (int row = 0; row < kernel; ++row) {
            const std::int64_t tap_y = y + (row - kernel / 2) * dilation;
            const bool row_inside = tap_y >= 0 && tap_y < job_.height;
            for (int column = 0; column < kernel; ++column, ++tap) {
                const std::int64_t tap_x = x + (column - kernel / 2) * dilation;
                const bool inside = row_inside && tap_x >= 0 && tap_x < job_.width;
                tile.rows[tap][m] =
                    inside ? source_.row(int(tap_y * job_.width + tap_x)) : source_.zeros;
            }
        }
    }

    // Point row m of the tile to where the result of one listed pixel goes.
    void aim_results(QuantizedTile& tile, int m, int position) const {
        const std::size_t outputs = layer_.form.outputs;
        if (target_.rows != nullptr) {
            tile.quantized[m] = target_.rows + position * outputs;
            return;
        }
        const std::size_t pixel = job_.index[position];
        tile.out[m] = job_.out + pixel * outputs;
        if (residual_) tile.base[m] = job_.base + pixel * outputs;
        if (job_.next_stream != nullptr) tile.quantized[m] = job_.next_stream + pixel * outputs;
    }

    const QuantizedLayer& layer_;
    const Job& job_;
    const Source source_;
    const Target target_;
    const bool residual_;
    const std::int32_t* order_;
};

// Order the list such that pixels that pass through come last. Returns how many are convolved.
int arrange(const Job& job, Workspace& workspace) {
    auto& order = workspace.order;
    order.resize(job.count);
    std::iota(order.begin(), order.end(), 0);
    const auto first_passing = std::stable_partition(
        order.begin(), order.end(),
        [&](std::int32_t position) { return job.dilation_map[job.index[position]] != 0; });
    return int(first_passing - order.begin());
}

// One layer at all listed pixels, and the base at the others among the first `copied` pixels.
void compute(const QuantizedLayer& layer, const Job& job, const Source& source, const Target& target,
             bool residual, int copied, Workspace& workspace) {
    const int convolved = layer.form.by_map ? arrange(job, workspace) : job.count;
    const Pass pass(layer, job, source, target, residual,
                    layer.form.by_map ? workspace.order.data() : nullptr);
    const int tile_rows = layer.isa().quantized.tile_rows;
    const int tiles = ceil_div(convolved, tile_rows);
    const int wanted = kPartsPerThread * workspace.pool.threads();
    const std::int64_t whole = std::int64_t(tiles) * layer.groups();
    const int tiles_per_part = int(std::clamp<std::int64_t>(whole / wanted, 1, 64));
    const int parts_per_group = ceil_div(tiles, tiles_per_part);
    const int compute_parts = parts_per_group * layer.groups();
    const int passing_parts = ceil_div(job.count - convolved, kCopyPixels);
    const int copy_parts = ceil_div(copied, kCopyPixels);
    workspace.pool.share(compute_parts + passing_parts + copy_parts, [&](int part) {
        if (part < compute_parts) {
            const int first_tile = part % parts_per_group * tiles_per_part;
            const int last_tile = std::min(first_tile + tiles_per_part, tiles);
            for (int tile = first_tile; tile < last_tile; ++tile) {
                const int first = tile * tile_rows;
                pass.compute(first, std::min(tile_rows, convolved - first), part / parts_per_group);
            }
        } else if (part < compute_parts + passing_parts) {
            const int first = convolved + (part - compute_parts) * kCopyPixels;
            for (int at = first; at < std::min(first + kCopyPixels, job.count); ++at)
                pass.pass_through(at);
        } else {
            const int first = (part - compute_parts - passing_parts) * kCopyPixels;
            copy_unlisted(job, workspace.position.data(), layer.form.outputs, first,
                          std::min(first + kCopyPixels, copied));
        }
    });
}

// Room in `rows` for `count` pixels, and behind them a row that stands for zeros.
void prepare(AlignedVector<std::uint8_t>& rows, std::size_t count, int channels, int zero_point) {
    const std::size_t bytes = (count + 1) * channels;
    if (rows.size() < bytes) rows.resize(bytes);
    std::fill_n(rows.begin() + count * channels, channels, static_cast<std::uint8_t>(zero_point));
}

// The input as far as the first layer reads it, in its units.
Source quantized_input(const QuantizedLayer& layer, const Job& job, const float* inverse_scale,
                       Workspace& workspace) {
    const int pixels = job.height * job.width, channels = layer.form.channels;
    if (job.stream != nullptr) {
        prepare(workspace.quantized, 0, channels, layer.form.zero_point);
        return {job.stream, nullptr, workspace.quantized.data(), channels};
    }
    if (layer.form.by_map)
        workspace.wanted.assign(pixels, 1);
    else
        mark_wanted(layer.form.kernel, layer.form.dilation, job, workspace);
    prepare(workspace.quantized, pixels, channels, layer.form.zero_point);
    const std::uint8_t* wanted = workspace.wanted.data();
    std::uint8_t* rows = workspace.quantized.data();
    workspace.pool.share(ceil_div(pixels, kCopyPixels), [&](int part) {
        const int last = std::min((part + 1) * kCopyPixels, pixels);
        for (int pixel = part * kCopyPixels; pixel < last; ++pixel) {
            const std::size_t at = std::size_t(pixel) * channels;
            if (wanted[pixel] != 0)
                layer.isa().quantized.quantize(job.x + at, rows + at, channels, inverse_scale,
                                               layer.form.zero_point);
        }
    });
    return {rows, nullptr, rows + std::size_t(pixels) * channels, channels};
}

// The sum of the weights of one output channel, of them all or of their absolute values.
std::int64_t sum(const std::int8_t* weight, std::size_t count, bool absolute) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < count; ++i) total += absolute ? std::abs(weight[i]) : weight[i];
    return total;
}

}  // namespace

QuantizedLayer::QuantizedLayer(const Form& form, const std::int8_t* weight, const std::int32_t* bias,
                               const float* scale, const float* passed, const Isa& isa)
    : form(form),
      isa_(isa),
      panels_(ceil_div(form.outputs, kQuantizedPanel)),
      taps_per_group_(std::max(1, kGroupInputs / form.channels)) {
    const std::size_t inputs = std::size_t(taps()) * form.channels;
    const std::size_t group_inputs = std::size_t(taps_per_group_) * form.channels;
    const std::size_t group_steps = (group_inputs + kQuantizedStep - 1) / kQuantizedStep;
    const std::size_t rest = inputs % group_inputs;
    steps_ = int(inputs / group_inputs * group_steps + (rest + kQuantizedStep - 1) / kQuantizedStep);
    const std::size_t panel_bytes = std::size_t(steps_) * 2 * kQuantizedHalf;
    panels_per_group_ = std::clamp(int(kGroupBytes / panel_bytes), 1, panels_);
    weights_.assign(panels_ * panel_bytes, 0);
    bias_.assign(std::size_t(panels_) * kQuantizedPanel, 0);
    scale_.assign(std::size_t(panels_) * kQuantizedPanel, 0.0F);
    std::copy(scale, scale + form.outputs, scale_.begin());
    if (passed != nullptr) passed_.assign(passed, passed + form.outputs);
    for (std::size_t n = 0; n < std::size_t(form.outputs); ++n) {
        const std::int8_t* row = weight + n * inputs;
        const std::int64_t most = 255 * sum(row, inputs, true) + std::abs(std::int64_t(bias[n]));
        if (most > std::numeric_limits<std::int32_t>::max())
            throw std::invalid_argument("weight must give sums of 32 bits, those of output channel " +
                                        std::to_string(n) + " may reach " + std::to_string(most));
        const int shift = isa.quantized.input_shift - form.zero_point;
        bias_[n] = std::int32_t(bias[n] + shift * sum(row, inputs, false));
        std::int8_t* packed = weights_.data() + n / 16 % 2 * kQuantizedHalf + n % 16 * 4;
        packed += n / kQuantizedPanel * steps_ * 2 * kQuantizedHalf;
        for (std::size_t k = 0; k < inputs; ++k) {
            const std::size_t at = k % group_inputs;
            const std::size_t step = k / group_inputs * group_steps + at / kQuantizedStep;
            packed[step * 2 * kQuantizedHalf + at % kQuantizedStep / 4 * 64 + at % 4] = row[k];
        }
    }
}

QuantizedBranch::QuantizedBranch(std::vector<std::shared_ptr<QuantizedLayer>> layers,
                                 std::vector<float> input_scale, bool residual)
    : Layered(std::move(layers), residual), input_scale_(std::move(input_scale)) {
    inverse_scale_.assign(std::size_t(ceil_div(inputs(), kQuantizedPanel)) * kQuantizedPanel, 0.0F);
    std::transform(input_scale_.begin(), input_scale_.end(), inverse_scale_.begin(),
                   [](float scale) { return 1.0F / scale; });
}

void QuantizedBranch::quantize(const float* x, std::int64_t pixels, std::uint8_t* to) const {
    const QuantizedLayer& layer = *layers_.front();
    const int channels = inputs();
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel, x += channels, to += channels)
        layer.isa().quantized.quantize(x, to, channels, inverse_scale_.data(),
                                       layer.form.zero_point);
}

void QuantizedBranch::run(const Job& given, Workspace& workspace) const {
    const Job job = with_own_lists(given, workspace);
    locate(job, workspace);
    Source source = quantized_input(*layers_.front(), job, inverse_scale_.data(), workspace);
    const std::size_t last = layers_.size() - 1;
    for (std::size_t depth = 0; depth < last; ++depth) {
        const QuantizedLayer& layer = *layers_[depth];
        const int zero_point = layers_[depth + 1]->form.zero_point, channels = layer.form.outputs;
        auto& rows = workspace.quantized_between[depth % 2];
        prepare(rows, job.count, channels, zero_point);
        compute(layer, job, source, {rows.data(), zero_point, nullptr}, false, 0, workspace);
        // The row behind the last stands for every pixel that is not listed.
        source = {rows.data(), workspace.position.data(),
                  rows.data() + std::size_t(job.count) * channels, channels};
    }
    // The layers read copies of x, so the result may take its place; and the stream is read by the first
    // one only.
    const int copied = job.out == job.base ? 0 : job.height * job.width;
    const Target target{nullptr, layers_.front()->form.zero_point, inverse_scale_.data()};
    compute(*layers_[last], job, source, target, residual_, copied, workspace);
}

}  // namespace pag
