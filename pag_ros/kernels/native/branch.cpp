#include "branch.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "bf16.hpp"

namespace pag {

namespace {

// Weights of one group of panels stay in a core's second-level cache while all pixels pass by.
constexpr std::size_t kGroupBytes = 640 * 1024;
// More parts share the work more evenly, fewer cost less.
constexpr int kPartsPerThread = 16;
// Multiply-adds of a pixel from which on its taps beyond the borders cost more than sorting it.
constexpr std::int64_t kWorthArranging = 9 * 96 * 96;

// Where a layer finds the channels of a pixel.
struct Source {
    const void* rows;              // of floats, or of bf16
    const std::int32_t* position;  // of a pixel among the rows, or null: rows are pixels
    const void* zeros;
    std::size_t row_bytes;

    const void* row(int pixel) const {
        const std::size_t at = position == nullptr ? pixel : position[pixel];
        return static_cast<const char*>(rows) + at * row_bytes;
    }
};

// Where a layer puts its results.
struct Target {
    void* rows;
    bool by_pixel;  // else by position in the list
    std::size_t row_bytes;
    bool rounds;  // to bf16

    void* row(int pixel, int position) const {
        const std::size_t at = by_pixel ? pixel : position;
        return static_cast<char*>(rows) + at * row_bytes;
    }
};

// Gives a tile of a bf16 layer the memory that the thread keeps for it.
void make_room(Tile& tile, int panels) {
    thread_local AlignedVector<Bf16> gathered;
    thread_local AlignedVector<float> sums;
    const std::size_t row = padded_to_steps(tile.channels) + kBf16Step;
    const std::size_t inputs = bf16_taps_per_block(tile.channels) * kMaxTileRows * row;
    const std::size_t results = std::size_t(panels) * kMaxTileRows * kBf16Panel;
    if (gathered.size() < inputs) gathered.resize(inputs);
    if (sums.size() < results) sums.resize(results);
    tile.gathered = gathered.data();
    tile.sums = sums.data();
}

float as_float(float value) { return value; }
float as_float(Bf16 value) { return from_bf16(value); }

// A pixel's input, plus its base if there is one, between the bounds.
template <typename From, typename To>
void pass_row(const void* from, const float* base, void* to, const Layer::Form& form) {
    for (int c = 0; c < form.outputs; ++c) {
        float value = as_float(static_cast<const From*>(from)[c]);
        if (base != nullptr) value += base[c];
        value = std::min(std::max(value, form.lower), form.upper);
        if constexpr (std::is_same_v<To, Bf16>)
            static_cast<To*>(to)[c] = to_bf16(value);
        else
            static_cast<To*>(to)[c] = value;
    }
}

// One layer of one run.
class Pass {
   public:
    Pass(const Layer& layer, const Job& job, const Source& source, const Target& target,
         const float* residual, const std::int32_t* order)
        : layer_(layer),
          job_(job),
          source_(source),
          target_(target),
          residual_(residual),
          order_(order) {}

    // Positions first .. first + count of the list, output channels of one group.
    void compute(int first, int count, int group) const {
        Tile tile;
        tile.count = count;
        tile.taps = layer_.taps();
        tile.channels = layer_.form.channels;
        tile.has_base = residual_ != nullptr;
        tile.lower = layer_.form.lower;
        tile.upper = layer_.form.upper;
        tile.live_taps = 0;
        tile.zeros = source_.zeros;
        tile.rounds = target_.rounds;
        if (layer_.precision == Precision::bf16) make_room(tile, layer_.panels_per_group());
        for (int m = 0; m < count; ++m) aim(tile, m, at(first + m));
        // The routine computes whole tiles.
        for (int m = count; m < layer_.tile_rows(); ++m)
            for (int tap = 0; tap < tile.taps; ++tap) tile.rows[tap][m] = source_.zeros;
        layer_.compute(tile, group);
    }

    // A pixel whose input takes the convolution's place.
    void pass_through(int position) const {
        const int pixel = job_.index[at(position)];
        const void* input = source_.row(pixel);
        void* out = target_.row(pixel, at(position));
        const float* base = base_of(pixel);
        if (layer_.precision == Precision::fp32)
            pass_row<float, float>(input, base, out, layer_.form);
        else if (target_.rounds)
            pass_row<Bf16, Bf16>(input, base, out, layer_.form);
        else
            pass_row<Bf16, float>(input, base, out, layer_.form);
    }

   private:
    const float* base_of(int pixel) const {
        return residual_ == nullptr ? nullptr
                                    : residual_ + std::size_t(pixel) * layer_.form.outputs;
    }

    int at(int position) const { return order_ == nullptr ? position : order_[position]; }

    // Point row m of the tile to the taps and results of one listed pixel.
    void aim(Tile& tile, int m, int position) const {
        const int pixel = job_.index[position];
        const int y = pixel / job_.width, x = pixel % job_.width;
        const int dilation = layer_.form.by_map ? job_.dilation_map[pixel] : layer_.form.dilation;
        const std::int64_t reach = std::int64_t(layer_.form.kernel / 2) * dilation;
        const bool inside =
            y >= reach && x >= reach && y + reach < job_.height && x + reach < job_.width;
        if (inside)
            aim_inside(tile, m, pixel, dilation);
        else
            aim_at_border(tile, m, y, x, dilation);
        tile.out[m] = target_.row(pixel, position);
        tile.base[m] = base_of(pixel);
    }

    void aim_inside(Tile& tile, int m, int pixel, int dilation) const {
        const int kernel = layer_.form.kernel;
        int tap = 0;
        for (int row = 0; row < kernel; ++row) {
            int at = pixel + (row - kernel / 2) * dilation * job_.width - kernel / 2 * dilation;
            for (int column = 0; column < kernel; ++column, ++tap, at += dilation)
                aim_tap(tile, m, tap, source_.row(at));
        }
    }

    void aim_at_border(Tile& tile, int m, int y, int x, std::int64_t dilation) const {
        const int kernel = layer_.form.kernel;
        int tap = 0;
        for (int row = 0; row < kernel; ++row) {
            const std::int64_t tap_y = y + (row - kernel / 2) * dilation;
            const bool row_inside = tap_y >= 0 && tap_y < job_.height;
            for (int column = 0; column < kernel; ++column, ++tap) {
                const std::int64_t tap_x = x + (column - kernel / 2) * dilation;
                const bool inside = row_inside && tap_x >= 0 && tap_x < job_.width;
                aim_tap(tile, m, tap,
                        inside ? source_.row(int(tap_y * job_.width + tap_x)) : source_.zeros);
            }
        }
    }

    void aim_tap(Tile& tile, int m, int tap, const void* row) const {
        tile.rows[tap][m] = row;
        tile.live_taps |= std::uint32_t(row != source_.zeros) << tap;
    }

    const Layer& layer_;
    const Job& job_;
    const Source source_;
    const Target target_;
    const float* residual_;
    const std::int32_t* order_;
};

// -1, 0 or 1: whether taps at this distance cross the lower end of a line of pixels, none or the other.
int side(int at, std::int64_t reach, int size) {
    return at < reach ? -1 : at + reach >= size ? 1 : 0;
}

// Order the list such that pixels of one tile have the same taps beyond the borders, which the tile
// then leaves out: by dilation, then by the borders that their taps cross. Pixels that pass through
// come last. Returns how many are convolved.
int arrange(const Layer::Form& form, const Job& job, Workspace& workspace) {
    constexpr int kSides = 9, kDilations = 16, kKeys = kSides * kDilations + 1;
    std::array<int, kKeys + 1> ends{};
    workspace.keys.resize(job.count);
    workspace.order.resize(job.count);
    for (int position = 0; position < job.count; ++position) {
        const int pixel = job.index[position];
        const int dilation = form.by_map ? job.dilation_map[pixel] : form.dilation;
        const std::int64_t reach = std::int64_t(form.kernel / 2) * dilation;
        const int vertical = side(pixel / job.width, reach, job.height);
        const int horizontal = side(pixel % job.width, reach, job.width);
        const int sides = 3 * (vertical + 1) + horizontal + 1;
        const int key = dilation == 0 ? kKeys - 1
                                      : std::min(dilation - 1, kDilations - 1) * kSides + sides;
        workspace.keys[position] = static_cast<std::uint8_t>(key);
        ++ends[key + 1];
    }
    for (int key = 0; key < kKeys; ++key) ends[key + 1] += ends[key];
    const int convolved = ends[kKeys - 1];
    for (int position = 0; position < job.count; ++position)
        workspace.order[ends[workspace.keys[position]]++] = position;
    return convolved;
}

// In bf16 taps beyond the borders cost less than sorting, and rows that lie one behind the other, as
// those of an unsorted list do, need not be gathered.
bool is_worth_arranging(const Layer& layer) {
    if (layer.form.by_map) return true;
    return layer.precision == Precision::fp32 && layer.macs_per_pixel() >= kWorthArranging;
}

void copy_listed(const Job& job, const float* rows, int channels) {
    for (int position = 0; position < job.count; ++position)
        std::memcpy(job.out + std::size_t(job.index[position]) * channels,
                    rows + std::size_t(position) * channels, sizeof(float) * channels);
}

// One layer's work, cut into parts that the threads take: tiles of the first `convolved` pixels of the
// list, the rest of the list, which passes through, and the first `copied` pixels of the map.
void share(const Pass& pass, const Layer& layer, const Job& job, int convolved, int copied,
           Workspace& workspace) {
    const int tile_rows = layer.tile_rows();
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

// One layer at all listed pixels, and the base at the others among the first `copied` pixels.
void compute(const Layer& layer, const Job& job, const Source& source, const Target& target,
             const float* residual, int copied, Workspace& workspace) {
    const std::int32_t* order = nullptr;
    int convolved = job.count;
    if (is_worth_arranging(layer)) {
        convolved = arrange(layer.form, job, workspace);
        order = workspace.order.data();
    }
    share(Pass(layer, job, source, target, residual, order), layer, job, convolved, copied, workspace);
}

// Room in `rows` for a layer's results at the listed pixels, and one row more.
Target compact(const Layer& layer, const Job& job, std::vector<float>& rows) {
    const std::size_t outputs = layer.form.outputs, floats = (job.count + std::size_t{1}) * outputs;
    if (rows.size() < floats) rows.resize(floats);
    return {rows.data(), false, outputs * sizeof(float), false};
}

// Room in `rows` for `count` rows of so many channels, padded, and one of zeros; behind that for the
// pixels that a tile may lack.
std::size_t prepare(AlignedVector<Bf16>& rows, std::size_t count, int channels) {
    const std::size_t padded = padded_to_steps(channels), size = (count + 1 + kMaxTileRows) * padded;
    if (rows.size() < size) rows.resize(size);
    std::fill_n(rows.begin() + count * padded, padded, Bf16{0});
    return padded * sizeof(Bf16);
}

// Rows of the listed pixels as a layer finds them; the one behind the last stands for all others.
Source listed_rows(const void* rows, std::size_t row_bytes, const Job& job,
                   const Workspace& workspace) {
    return {rows, workspace.position.data(), static_cast<const char*>(rows) + job.count * row_bytes,
            row_bytes};
}

// A layer before the last one; its results go to `rows`. Returns where the next layer finds them.
Source compute_inner(const Layer& layer, const Job& job, const Source& source,
                     std::vector<float>& rows, Workspace& workspace) {
    const Target target = compact(layer, job, rows);
    std::fill_n(rows.begin() + std::size_t(job.count) * layer.form.outputs, layer.form.outputs, 0.0F);
    compute(layer, job, source, target, nullptr, 0, workspace);
    return listed_rows(target.rows, target.row_bytes, job, workspace);
}

Source compute_inner(const Layer& layer, const Job& job, const Source& source,
                     AlignedVector<Bf16>& rows, Workspace& workspace) {
    const std::size_t row_bytes = prepare(rows, job.count, layer.form.outputs);
    compute(layer, job, source, {rows.data(), false, row_bytes, true}, nullptr, 0, workspace);
    return listed_rows(rows.data(), row_bytes, job, workspace);
}

// The last layer, whose results go to job.out with the base around them.
void compute_last(const Layer& layer, const Job& job, const Source& source, const float* residual,
                  Workspace& workspace) {
    const int outputs = layer.form.outputs, pixels = job.height * job.width;
    const int copied = job.out == job.base ? 0 : pixels;
    if (source.rows != job.out) {
        const Target target{job.out, true, outputs * sizeof(float), false};
        compute(layer, job, source, target, residual, copied, workspace);
        return;
    }
    // A lone layer would write over what its neighbours still read, so it takes the detour.
    const Target target = compact(layer, job, workspace.between[0]);
    compute(layer, job, source, target, residual, 0, workspace);
    copy_unlisted(job, workspace.position.data(), outputs, 0, copied);
    copy_listed(job, workspace.between[0].data(), outputs);
}

// x in bf16, as far as the first layer reads it.
Source round_input(const Layer& layer, const Job& job, Workspace& workspace) {
    const Layer::Form& form = layer.form;
    const bool listed_only = form.kernel == 1;
    const int pixels = job.height * job.width, rows = listed_only ? job.count : pixels;
    if (form.by_map)
        workspace.wanted.assign(pixels, 1);
    else if (!listed_only)
        mark_wanted(form.kernel, form.dilation, job, workspace);
    auto& rounded = workspace.bf16_input;
    const std::size_t row_bytes = prepare(rounded, rows, form.channels);
    workspace.pool.share(ceil_div(rows, kCopyPixels), [&](int part) {
        const int last = std::min((part + 1) * kCopyPixels, rows);
        for (int row = part * kCopyPixels; row < last; ++row) {
            if (!listed_only && workspace.wanted[row] == 0) continue;
            const std::size_t pixel = listed_only ? job.index[row] : row;
            layer.isa().bf16.round(job.x + pixel * form.channels,
                                   rounded.data() + row * (row_bytes / sizeof(Bf16)), form.channels);
        }
    });
    if (listed_only) return listed_rows(rounded.data(), row_bytes, job, workspace);
    return {rounded.data(), nullptr,
            reinterpret_cast<const char*>(rounded.data()) + rows * row_bytes, row_bytes};
}

}  // namespace

Layer::Layer(const Form& form, const float* weight, const float* bias, const Isa& isa)
    : form(form), isa_(isa), panels_(ceil_div(form.outputs, isa.panel)), panels_per_group_(panels_) {
    const int panel = isa.panel, taps = this->taps();
    bias_.assign(std::size_t(panels_) * panel, 0.0F);
    std::copy(bias, bias + form.outputs, bias_.begin());
    if (form.depthwise) {
        weights_.resize(std::size_t(taps) * form.channels);
        for (int n = 0; n < form.outputs; ++n)
            for (int tap = 0; tap < taps; ++tap)
                weights_[std::size_t(tap) * form.channels + n] = weight[std::size_t(n) * taps + tap];
        return;
    }
    const std::size_t rows = std::size_t(taps) * form.channels;
    panels_per_group_ = std::clamp(int(kGroupBytes / (rows * panel * sizeof(float))), 1, panels_);
    weights_.assign(panels_ * rows * panel, 0.0F);
    for (int n = 0; n < form.outputs; ++n)
        for (std::size_t row = 0; row < rows; ++row)
            weights_[((n / panel) * rows + row) * panel + n % panel] = weight[n * rows + row];
}

Layer::Layer(const Layer& exact)
    : form(exact.form),
      precision(Precision::bf16),
      isa_(exact.isa_),
      panels_(ceil_div(form.outputs, kBf16Panel)),
      panels_per_group_(panels_),
      bias_(std::size_t(panels_) * kBf16Panel, 0.0F) {
    if (form.depthwise) {
        split_depthwise(exact);
        return;
    }
    std::copy_n(exact.bias_.begin(), form.outputs, bias_.begin());
    const std::size_t padded = padded_to_steps(form.channels);
    const std::size_t panel = taps() * padded * kBf16Panel;
    panels_per_group_ = std::clamp(int(kGroupBytes / (panel * sizeof(Bf16))), 1, panels_);
    bf16_weights_.assign(panels_ * panel, 0);
    pack_bf16(exact);
}

void Layer::split_depthwise(const Layer& exact) {
    const std::size_t channels = form.channels, padded = padded_to_steps(form.channels);
    weights_.assign(taps() * padded, 0.0F);
    for (std::size_t c = 0; c < channels; ++c) {
        const std::size_t at = split_channel(int(c), isa_.panel);
        bias_[at] = exact.bias_[c];
        for (int tap = 0; tap < taps(); ++tap)
            weights_[tap * padded + at] = from_bf16(to_bf16(exact.weights_[tap * channels + c]));
    }
}

void Layer::pack_bf16(const Layer& exact) {
    const std::size_t steps = padded_to_steps(form.channels) / kBf16Step;
    for (int n = 0; n < form.outputs; ++n) {
        for (int tap = 0; tap < taps(); ++tap) {
            const std::size_t first = (std::size_t(n) / kBf16Panel * taps() + tap) * steps;
            for (int c = 0; c < form.channels; ++c) {
                const std::size_t half = 2 * (first + c / kBf16Step) + n % kBf16Panel / 16;
                const std::size_t pair = c % kBf16Step / 2;
                bf16_weights_[half * kBf16Half + pair * 32 + n % 16 * 2 + c % 2] =
                    to_bf16(exact.packed_weight(n, tap, c));
            }
        }
    }
}

float Layer::packed_weight(int output, int tap, int channel) const {
    const std::size_t panel = isa_.panel, rows = std::size_t(taps()) * form.channels;
    const std::size_t row = std::size_t(tap) * form.channels + channel;
    return weights_[(output / panel * rows + row) * panel + output % panel];
}

std::shared_ptr<Layer> Layer::in_bf16() {
    if (in_bf16_ == nullptr) in_bf16_.reset(new Layer(*this));
    return in_bf16_;
}

int Layer::groups() const { return ceil_div(panels_, panels_per_group_); }

void Layer::compute(const Tile& tile, int group) const {
    if (precision == Precision::bf16) {
        compute_bf16(tile, group);
        return;
    }
    if (form.depthwise) {
        isa_.convolve_depthwise(tile, weights_.data(), bias_.data());
        return;
    }
    const std::size_t panel_floats = std::size_t(taps()) * form.channels * isa_.panel;
    const int last = std::min((group + 1) * panels_per_group_, panels_);
    for (int panel = group * panels_per_group_; panel < last; ++panel) {
        const int column = panel * isa_.panel;
        isa_.convolve(tile, weights_.data() + panel * panel_floats, bias_.data() + column, column,
                      std::min(isa_.panel, form.outputs - column));
    }
}

void Layer::compute_bf16(const Tile& tile, int group) const {
    if (form.depthwise) {
        isa_.bf16.convolve_depthwise(tile, weights_.data(), bias_.data());
        return;
    }
    const int first = group * panels_per_group_ * kBf16Panel;
    const int end = std::min(first + panels_per_group_ * kBf16Panel, form.outputs);
    const std::size_t inputs = std::size_t(taps()) * padded_to_steps(form.channels);
    isa_.bf16.convolve(tile, bf16_weights_.data() + first * inputs, bias_.data() + first, first, end);
}

Branch::Branch(std::vector<std::shared_ptr<Layer>> layers, bool residual, Precision precision)
    : Layered(std::move(layers), residual), precision_(precision) {
    if (precision == Precision::bf16)
        for (auto& layer : layers_) layer = layer->in_bf16();
}

void Branch::run(const Job& given, Workspace& workspace) const {
    const Job job = with_own_lists(given, workspace);
    locate(job, workspace);
    if (precision_ == Precision::bf16)
        run_bf16(job, workspace);
    else
        run_fp32(job, workspace);
}

void Branch::run_fp32(const Job& job, Workspace& workspace) const {
    int widest = 0;
    for (const auto& layer : layers_) widest = std::max(widest, layer->form.channels);
    if (int(workspace.zeros.size()) < widest) workspace.zeros.assign(widest, 0.0F);

    Source source{job.x, nullptr, workspace.zeros.data(),
                  layers_.front()->form.channels * sizeof(float)};
    const std::size_t last = layers_.size() - 1;
    for (std::size_t depth = 0; depth < last; ++depth)
        source = compute_inner(*layers_[depth], job, source, workspace.between[depth % 2], workspace);
    compute_last(*layers_[last], job, source, residual_ ? job.base : nullptr, workspace);
}

void Branch::run_bf16(const Job& job, Workspace& workspace) const {
    Source source = round_input(*layers_.front(), job, workspace);
    const std::size_t last = layers_.size() - 1;
    for (std::size_t depth = 0; depth < last; ++depth)
        source =
            compute_inner(*layers_[depth], job, source, workspace.bf16_between[depth % 2], workspace);
    compute_last(*layers_[last], job, source, residual_ ? job.base : nullptr, workspace);
}

}  // namespace pag
