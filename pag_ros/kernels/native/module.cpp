// The Python module pag_ros.kernels._native: checks every argument, then computes without the GIL.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "branch.hpp"
#include "classify.hpp"
#include "geometry.hpp"
#include "isa.hpp"
#include "quantized.hpp"
#include "select.hpp"
#include "trunk.hpp"

namespace py = pybind11;

namespace {

constexpr int kMostThreads = 256;
constexpr std::int64_t kMostPixels = 1 << 26;
constexpr std::int64_t kMostChannels = 1 << 20;

[[noreturn]] void refuse(const std::string& name, const std::string& wanted,
                         const std::string& got) {
    throw py::value_error(name + " must be " + wanted + ", got " + got);
}

std::string describe(const py::array& array) {
    std::string text = "[";
    for (py::ssize_t axis = 0; axis < array.ndim(); ++axis)
        text += (axis ? "," : "") + std::to_string(array.shape(axis));
    text += "] " + py::str(array.dtype()).cast<std::string>();
    return array.flags() & py::array::c_style ? text : text + ", not contiguous";
}

// A contiguous NumPy array of one type; `shape`: the lengths it must have, -1 for any.
template <typename T>
py::array array_of(const py::handle& value, const std::string& name,
                   const std::vector<std::int64_t>& shape, const std::string& wanted) {
    if (!py::isinstance<py::array>(value))
        refuse(name, wanted, py::str(py::type::of(value).attr("__name__")).cast<std::string>());
    auto array = py::reinterpret_borrow<py::array>(value);
    bool fits = array.dtype().is(py::dtype::of<T>()) && (array.flags() & py::array::c_style) &&
                array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (std::size_t axis = 0; fits && axis < shape.size(); ++axis)
        fits = shape[axis] < 0 || array.shape(static_cast<py::ssize_t>(axis)) == shape[axis];
    if (!fits) refuse(name, wanted, describe(array));
    return array;
}

template <typename T>
const T* data_of(const py::array& array) {
    return static_cast<const T*>(array.data());
}

template <typename T>
T* writable(py::array& array, const std::string& name) {
    if (!array.writeable()) throw py::value_error(name + " must be writeable");
    return static_cast<T*>(array.mutable_data());
}

// out may be exactly the other array where `same_allowed`, and may not share a part of it.
void check_overlap(const py::array& out, const py::array& other, const std::string& name,
                   bool same_allowed, const std::string& what = "out") {
    const auto* a = static_cast<const char*>(out.data());
    const auto* b = static_cast<const char*>(other.data());
    const bool apart = a + out.nbytes() <= b || b + other.nbytes() <= a;
    const bool same = same_allowed && a == b && out.nbytes() == other.nbytes();
    if (!apart && !same) throw py::value_error(what + " must not share a part of its memory with " + name);
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text = "[";
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
        text += (axis ? "," : "") + std::to_string(shape[axis]);
    return text + "]";
}

std::shared_ptr<pag::Layer> make_layer(const py::object& weight, const py::object& bias, int dilation, bool by_map,
                      bool depthwise, float lower, float upper) {
    const std::string wanted = depthwise ? "contiguous [N,k,k,1] float32, k = 1, 3 or 5"
                                         : "contiguous [N,k,k,C] float32, k = 1, 3 or 5";
    const py::array weights = array_of<float>(weight, "weight", {-1, -1, -1, -1}, wanted);
    const std::int64_t outputs = weights.shape(0), kernel = weights.shape(1);
    const std::int64_t channels = weights.shape(3);
    const bool known_kernel = kernel == 1 || kernel == 3 || kernel == 5;
    if (!known_kernel || weights.shape(2) != kernel || outputs < 1 || outputs > kMostChannels ||
        channels < 1 || channels > kMostChannels || (depthwise && channels != 1))
        refuse("weight", wanted, describe(weights));
    const py::array biases =
        array_of<float>(bias, "bias", {outputs}, "[" + std::to_string(outputs) + "] float32");
    if (dilation < 1) refuse("dilation", "1 or more", std::to_string(dilation));
    if (by_map && (depthwise || kernel == 1 || outputs != channels))
        throw py::value_error(
            "dilation_map needs a weight with a 3x3 or 5x5 kernel and as many outputs as inputs");
    pag::Layer::Form form{};
    form.outputs = static_cast<int>(outputs);
    form.kernel = static_cast<int>(kernel);
    form.channels = static_cast<int>(depthwise ? outputs : channels);
    form.depthwise = depthwise;
    form.dilation = dilation;
    form.by_map = by_map;
    form.lower = lower;
    form.upper = upper;
    return std::make_shared<pag::Layer>(form, data_of<float>(weights), data_of<float>(biases),
                                              pag::chosen_isa());
}

void check_finite(const py::array& array, const std::string& name) {
    const float* values = data_of<float>(array);
    if (!std::all_of(values, values + array.size(), [](float each) { return std::isfinite(each); }))
        throw py::value_error(name + " must be finite");
}

std::shared_ptr<pag::QuantizedLayer> make_quantized_layer(const py::object& weight,
                                                          const py::object& bias,
                                                          const py::object& scale, int zero_point,
                                                          int dilation, bool by_map,
                                                          const py::object& passed,
                                                          bool relu) {
    const std::string wanted = "contiguous [N,k,k,C] int8, k = 1, 3 or 5";
    const py::array weights = array_of<std::int8_t>(weight, "weight", {-1, -1, -1, -1}, wanted);
    const std::int64_t outputs = weights.shape(0), kernel = weights.shape(1);
    const std::int64_t channels = weights.shape(3);
    const bool known_kernel = kernel == 1 || kernel == 3 || kernel == 5;
    if (!known_kernel || weights.shape(2) != kernel || outputs < 1 || outputs > kMostChannels ||
        channels < 1 || channels > kMostChannels)
        refuse("weight", wanted, describe(weights));
    const std::string each = "[" + std::to_string(outputs) + "] ";
    const py::array biases = array_of<std::int32_t>(bias, "bias", {outputs}, each + "int32");
    const py::array scales = array_of<float>(scale, "scale", {outputs}, each + "float32");
    check_finite(scales, "scale");
    if (zero_point < 0 || zero_point > 255)
        refuse("zero_point", "0 to 255", std::to_string(zero_point));
    if (dilation < 1) refuse("dilation", "1 or more", std::to_string(dilation));
    if (by_map && (kernel == 1 || outputs != channels))
        throw py::value_error(
            "dilation_map needs a weight with a 3x3 or 5x5 kernel and as many outputs as inputs");
    py::array passing;
    if (by_map) {
        passing = array_of<float>(passed, "passed", {outputs}, each + "float32");
        check_finite(passing, "passed");
    }
    pag::QuantizedLayer::Form form{};
    form.outputs = static_cast<int>(outputs);
    form.kernel = static_cast<int>(kernel);
    form.channels = static_cast<int>(channels);
    form.dilation = dilation;
    form.by_map = by_map;
    form.zero_point = zero_point;
    form.relu = relu;
    return std::make_shared<pag::QuantizedLayer>(form, data_of<std::int8_t>(weights),
                                                 data_of<std::int32_t>(biases), data_of<float>(scales),
                                                 by_map ? data_of<float>(passing) : nullptr,
                                                 pag::chosen_isa());
}

// Whether layers can follow one another, or throw.
template <typename Layer>
void check_chain(const std::vector<std::shared_ptr<Layer>>& layers) {
    if (layers.empty()) throw py::value_error("layers must hold one layer at least");
    for (std::size_t depth = 1; depth < layers.size(); ++depth) {
        const auto& before = layers[depth - 1]->form;
        if (layers[depth]->form.channels != before.outputs)
            throw py::value_error("layers must fit together, layer " + std::to_string(depth) +
                                  " takes " + std::to_string(layers[depth]->form.channels) +
                                  " channels and gets " + std::to_string(before.outputs));
        if (&layers[depth]->isa() != &layers[0]->isa())
            throw py::value_error("layers must be packed for the same instruction set");
    }
}

pag::Precision precision_of(const std::string& name) {
    if (name == "fp32") return pag::Precision::fp32;
    if (name == "bf16") return pag::Precision::bf16;
    refuse("precision", "'fp32' or 'bf16'", "'" + name + "'");
}

pag::Branch make_branch(const std::vector<std::shared_ptr<pag::Layer>>& layers, bool residual,
                        const std::string& precision) {
    check_chain(layers);
    return {layers, residual, precision_of(precision)};
}

void check_channels(const pag::Computation& branch, const std::string& name, std::int64_t inputs,
                    std::int64_t outputs) {
    const std::int64_t takes = branch.inputs(), gives = branch.outputs();
    if (takes != inputs || gives != outputs)
        throw py::value_error(name + " must take " + std::to_string(inputs) + " channels and give " +
                              std::to_string(outputs) + ", it takes " + std::to_string(takes) +
                              " and gives " + std::to_string(gives));
}

void check_plain(const pag::Computation& branch, const std::string& name) {
    if (branch.is_by_map() || branch.residual())
        throw py::value_error(name + " must have no dilation map and no residual");
}

pag::TrunkBlock make_block(const py::object& gate, float gate_bias,
                           const std::shared_ptr<pag::Computation>& branch,
                           const std::shared_ptr<pag::Computation>& predictor,
                           const std::vector<std::int32_t>& dilations,
                           const std::shared_ptr<pag::Computation>& projection) {
    const std::int64_t channels = branch->inputs();
    if (projection == nullptr) {
        check_channels(*branch, "branch", channels, channels);
    } else {
        check_channels(*projection, "projection", channels, branch->outputs());
        check_plain(*projection, "projection");
        if (!branch->residual())
            throw py::value_error("a branch beside a projection must be residual");
    }
    const py::array weights = array_of<float>(
        gate, "gate", {channels}, "contiguous [" + std::to_string(channels) + "] float32");
    if (branch->is_by_map() != (predictor != nullptr))
        throw py::value_error("a branch with a dilation map, and no other, needs a predictor");
    if (predictor != nullptr) {
        check_channels(*predictor, "predictor", channels, std::int64_t(dilations.size()));
        check_plain(*predictor, "predictor");
    }
    if (std::any_of(dilations.begin(), dilations.end(), [](std::int32_t each) { return each < 0; }))
        throw py::value_error("dilations must not be negative");
    const float* values = data_of<float>(weights);
    return {{values, values + channels}, gate_bias, branch, predictor, dilations, projection};
}

// Whether a computation reads the map that `first` reads in the same numbers, or throw.
void check_units(const pag::Computation& computation, const pag::Computation& first) {
    const auto* branch = dynamic_cast<const pag::QuantizedBranch*>(&computation);
    const auto* units = dynamic_cast<const pag::QuantizedBranch*>(&first);
    const bool both = branch != nullptr && units != nullptr;
    if (both ? branch->input_scale() != units->input_scale() ||
                   branch->zero_point() != units->zero_point()
             : branch != nullptr || units != nullptr)
        throw py::value_error(
            "blocks must all be quantized, with one input scale and one zero point, or none of them");
}

// Whether a block can read the map that `first` was the first to read, or throw.
void check_reads(const pag::TrunkBlock& block, const pag::TrunkBlock& first) {
    for (const auto& each : {block.branch, block.predictor, block.projection})
        if (each != nullptr) check_units(*each, *first.branch);
    const auto* branch = dynamic_cast<const pag::QuantizedBranch*>(block.branch.get());
    // The first layer reads the rounded map and the last one writes it.
    if (branch != nullptr && block.projection == nullptr && branch->layers().size() < 2)
        throw py::value_error("a quantized branch of a block needs two convolutions or more");
}

pag::Trunk make_trunk(std::vector<pag::TrunkBlock> blocks) {
    if (blocks.empty()) throw py::value_error("blocks must hold one block at least");
    const pag::TrunkBlock* first = &blocks.front();
    for (std::size_t at = 0; at < blocks.size(); ++at) {
        const pag::TrunkBlock* before = at == 0 ? nullptr : &blocks[at - 1];
        if (before != nullptr && before->branch->outputs() != blocks[at].branch->inputs())
            throw py::value_error("blocks must take the channels that the one before gives");
        if (before != nullptr && before->projection != nullptr) first = &blocks[at];
        check_reads(blocks[at], *first);
    }
    return pag::Trunk(std::move(blocks), pag::chosen_isa());
}

pag::QuantizedBranch make_quantized_branch(
    const std::vector<std::shared_ptr<pag::QuantizedLayer>>& layers, const py::object& input_scale,
    bool residual) {
    check_chain(layers);
    const std::int64_t channels = layers.front()->form.channels;
    const py::array scales = array_of<float>(input_scale, "input_scale", {channels},
                                             "[" + std::to_string(channels) + "] float32");
    const float* values = data_of<float>(scales);
    for (std::int64_t c = 0; c < channels; ++c)
        if (!std::isnormal(values[c]) || !std::isnormal(1.0F / values[c]) || values[c] < 0.0F)
            refuse("input_scale", "positive numbers", std::to_string(values[c]));
    return {layers, {values, values + channels}, residual};
}

std::unique_ptr<pag::Workspace> make_workspace(int threads) {
    if (threads < 1 || threads > kMostThreads)
        refuse("threads", "1 to " + std::to_string(kMostThreads), std::to_string(threads));
    return std::make_unique<pag::Workspace>(threads);
}

std::unique_lock<std::mutex> take(pag::Workspace& workspace) {
    std::unique_lock<std::mutex> lock(workspace.in_use, std::try_to_lock);
    if (!lock.owns_lock())
        throw std::runtime_error(
            "this workspace is at work in another thread, or was when this process was forked: give "
            "each its own");
    return lock;
}

// A run's arrays, checked, except for the dilation map.
struct Arrays {
    py::array x, index, base, out;
    pag::Job job;
};

template <typename Branch>
Arrays check_arrays(const Branch& branch, const py::object& x, const py::object& index,
                    std::int64_t count, const py::object& base, const py::object& out) {
    const std::int64_t channels = branch.layers().front()->form.channels;
    const std::int64_t outputs = branch.layers().back()->form.outputs;
    const py::array input =
        array_of<float>(x, "x", {-1, -1, channels},
                        "contiguous [H,W," + std::to_string(channels) + "] float32");
    const std::int64_t height = input.shape(0), width = input.shape(1), pixels = height * width;
    if (pixels > kMostPixels) refuse("x", "a map of fewer pixels", describe(input));
    const py::array listed = array_of<std::int32_t>(index, "index", {-1}, "contiguous [n] int32");
    const std::int64_t most = std::min<std::int64_t>(listed.shape(0), pixels);
    if (count < 0 || count > most)
        throw py::value_error("count must lie between 0 and " + std::to_string(most) + ", got " +
                              std::to_string(count));

    pag::Job job{};
    py::array held;
    const std::vector<std::int64_t> shape{height, width, outputs};
    const std::string wanted = "contiguous " + shape_text(shape) + " float32";
    py::array result = out.is_none() ? py::array(py::array_t<float>(shape))
                                     : array_of<float>(out, "out", shape, wanted);
    job.out = writable<float>(result, "out");
    check_overlap(result, input, "x", true);
    check_overlap(result, listed, "index", false);
    if (!base.is_none()) {
        held = array_of<float>(base, "base", shape, wanted);
        check_overlap(result, held, "base", true);
        job.base = data_of<float>(held);
    } else if (branch.residual()) {
        throw py::value_error("residual needs base");
    }
    job.x = data_of<float>(input);
    job.height = static_cast<int>(height);
    job.width = static_cast<int>(width);
    job.index = data_of<std::int32_t>(listed);
    job.count = static_cast<int>(count);
    return {input, listed, held, result, job};
}

template <typename Branch>
void run_unlocked(const Branch& branch, const pag::Job& job, pag::Workspace& workspace) {
    const py::gil_scoped_release release;
    const auto lock = take(workspace);
    branch.run(job, workspace);
}

// The dilation map of a branch that needs one, checked and in the job; it has to be held meanwhile.
py::array take_map(const pag::Computation& branch, const py::object& dilation_map, Arrays& arrays) {
    if (!branch.is_by_map()) return {};
    const std::int64_t pixels = std::int64_t(arrays.job.height) * arrays.job.width;
    const py::array map = array_of<std::int32_t>(dilation_map, "dilation_map", {pixels},
                                                 "[" + std::to_string(pixels) + "] int32");
    check_overlap(arrays.out, map, "dilation_map", false);
    arrays.job.dilation_map = data_of<std::int32_t>(map);
    return map;
}

py::object run_branch(const pag::Branch& branch, const py::object& x, const py::object& index,
                      std::int64_t count, const py::object& base, const py::object& dilation_map,
                      const py::object& out, pag::Workspace& workspace) {
    Arrays arrays = check_arrays(branch, x, index, count, base, out);
    const py::array map = take_map(branch, dilation_map, arrays);
    run_unlocked(branch, arrays.job, workspace);
    return std::move(arrays.out);
}

// Returns (count of each block, seconds after the frame's start at which each began and all ended).
py::tuple run_trunk(const pag::Trunk& trunk, const py::object& x, const py::object& keep,
                    const py::object& plan, double elapsed, const std::vector<py::object>& index,
                    const py::object& out, pag::Workspace& workspace) {
    const std::int64_t channels = trunk.inputs();
    const auto blocks = std::int64_t(trunk.blocks().size());
    const py::array input =
        array_of<float>(x, "x", {-1, -1, channels},
                        "contiguous [H,W," + std::to_string(channels) + "] float32");
    const std::int64_t height = input.shape(0), width = input.shape(1), pixels = height * width;
    if (pixels > kMostPixels) refuse("x", "a map of fewer pixels", describe(input));
    const std::vector<std::int64_t> shape{height, width, trunk.outputs()};
    py::array held =
        array_of<float>(out, "out", shape, "contiguous " + shape_text(shape) + " float32");
    auto* values = writable<float>(held, "out");
    check_overlap(held, input, "x", !trunk.projects());
    const std::string each = std::to_string(blocks);
    const py::array wanted = array_of<std::int32_t>(keep, "keep", {blocks}, "[" + each + "] int32");
    const py::array limits = array_of<float>(plan, "plan", {blocks, 3}, "[" + each + ",3] float32");
    if (std::int64_t(index.size()) != blocks)
        refuse("index", each + " arrays", std::to_string(index.size()));
    if (!std::isfinite(elapsed)) throw py::value_error("elapsed must be finite");

    std::vector<py::array> listed;
    std::vector<pag::BlockPlan> plans;
    std::vector<pag::BlockTrace> traces;
    for (std::int64_t at = 0; at < blocks; ++at) {
        const std::string name = "index[" + std::to_string(at) + "]";
        listed.push_back(array_of<std::int32_t>(index[at], name, {pixels},
                                                "[" + std::to_string(pixels) + "] int32"));
        check_overlap(listed.back(), input, "x", false, name);
        check_overlap(listed.back(), held, "out", false, name);
        const std::int32_t most = data_of<std::int32_t>(wanted)[at];
        if (most < 0 || most > pixels)
            refuse("keep", "0 to " + std::to_string(pixels), std::to_string(most));
        const float* row = data_of<float>(limits) + 3 * at;
        plans.push_back({most, row[0], row[1], row[2]});
        traces.push_back({writable<std::int32_t>(listed.back(), name), 0, 0.0});
    }
    double ended = 0.0;
    {
        const py::gil_scoped_release release;
        const auto lock = take(workspace);
        ended = trunk.run(data_of<float>(input), values, int(height), int(width), plans.data(),
                          elapsed, traces.data(), workspace);
    }
    std::vector<int> counts;
    std::vector<double> marks;
    for (const pag::BlockTrace& trace : traces) {
        counts.push_back(trace.count);
        marks.push_back(trace.began);
    }
    marks.push_back(ended);
    return py::make_tuple(counts, marks);
}

py::object run_quantized_branch(const pag::QuantizedBranch& branch, const py::object& x,
                                const py::object& index, std::int64_t count, const py::object& base,
                                const py::object& dilation_map, const py::object& stream,
                                const py::object& out, pag::Workspace& workspace) {
    Arrays arrays = check_arrays(branch, x, index, count, base, out);
    const py::array map = take_map(branch, dilation_map, arrays);
    py::array held;
    if (!stream.is_none()) {
        const std::vector<std::int64_t> shape{arrays.x.shape(0), arrays.x.shape(1), arrays.x.shape(2)};
        held = array_of<std::uint8_t>(stream, "stream", shape,
                                      "contiguous " + shape_text(shape) + " uint8");
        // The first layer reads the stream and the last one writes it.
        if (branch.layers().size() < 2 || arrays.out.shape(2) != shape[2])
            throw py::value_error(
                "stream needs two convolutions or more, and as many outputs as inputs");
        arrays.job.stream = arrays.job.next_stream = writable<std::uint8_t>(held, "stream");
        for (const auto& [name, other] :
             {std::pair{"x", arrays.x}, std::pair{"index", arrays.index},
              std::pair{"base", arrays.base}, std::pair{"out", arrays.out}})
            check_overlap(held, other, name, false, "stream");
    }
    run_unlocked(branch, arrays.job, workspace);
    return std::move(arrays.out);
}

py::object quantize(const pag::QuantizedBranch& branch, const py::object& x) {
    const std::int64_t channels = branch.layers().front()->form.channels;
    const py::array values =
        array_of<float>(x, "x", {-1, -1, channels},
                        "contiguous [H,W," + std::to_string(channels) + "] float32");
    py::array_t<std::uint8_t> result({values.shape(0), values.shape(1), values.shape(2)});
    std::uint8_t* to = result.mutable_data();
    const py::gil_scoped_release release;
    branch.quantize(data_of<float>(values), values.shape(0) * values.shape(1), to);
    return std::move(result);
}

py::object run_select(const py::object& score, std::int64_t keep, const py::object& out) {
    const py::array scores =
        array_of<float>(score, "score", {-1, -1}, "contiguous [H,W] float32");
    const std::int64_t size = scores.size();
    if (size > kMostPixels) refuse("score", "a map of fewer pixels", describe(scores));
    if (keep < 0 || keep > size)
        throw py::value_error("keep must lie between 0 and " + std::to_string(size) + ", got " +
                              std::to_string(keep));
    py::array result;
    if (out.is_none()) {
        result = py::array_t<std::int32_t>(size);
        std::fill_n(static_cast<std::int32_t*>(result.mutable_data()), size, 0);
    } else {
        result = array_of<std::int32_t>(out, "out", {size},
                                        "contiguous [" + std::to_string(size) + "] int32");
    }
    auto* index = writable<std::int32_t>(result, "out");
    check_overlap(result, scores, "score", false);
    thread_local pag::SelectBuffers buffers;
    const py::gil_scoped_release release;
    pag::select(data_of<float>(scores), static_cast<int>(size), static_cast<int>(keep), index,
                buffers);
    return std::move(result);
}

// [count,h,w] maps, and the size that they are enlarged to; checked.
void check_maps(const py::array& values, const std::string& name, std::int64_t height,
                std::int64_t width) {
    if (values.size() == 0 || values.size() > kMostPixels)
        refuse(name, "maps with some pixels", describe(values));
    for (const auto& [side, length] : {std::pair{"height", height}, std::pair{"width", width}})
        if (length < 1 || length > (1 << 15)) refuse(side, "1 to 32768", std::to_string(length));
}

// [count,h,w] maps, checked.
pag::MapStack stack_of(const py::array& maps, const std::string& name, std::int64_t height,
                       std::int64_t width) {
    check_maps(maps, name, height, width);
    return {data_of<float>(maps), static_cast<int>(maps.shape(0)),
            static_cast<int>(maps.shape(1)), static_cast<int>(maps.shape(2))};
}

// The array given for a result, checked, or a new one.
template <typename T>
py::array prepare_result(const py::object& given, const std::string& name,
                         const std::vector<std::int64_t>& shape) {
    if (given.is_none()) return py::array(py::array_t<T>(shape));
    const std::string type = py::str(py::dtype::of<T>()).template cast<std::string>();
    return array_of<T>(given, name, shape, "contiguous " + shape_text(shape) + " " + type);
}

py::object run_classify(const py::object& logits, std::int64_t height, std::int64_t width,
                        const py::object& labels, const py::object& confidence,
                        pag::Workspace& workspace) {
    const py::array values = array_of<float>(logits, "logits", {-1, -1, -1},
                                             "contiguous [K,h,w] float32, 1 to 256 classes");
    if (values.shape(0) > 256)
        refuse("logits", "[K,h,w] with 1 to 256 classes and some pixels", describe(values));
    const pag::MapStack maps = stack_of(values, "logits", height, width);
    py::array label_map = prepare_result<std::uint8_t>(labels, "labels", {height, width});
    py::array confidence_map = prepare_result<float>(confidence, "confidence", {height, width});
    pag::ClassMap result{writable<std::uint8_t>(label_map, "labels"),
                         writable<float>(confidence_map, "confidence"), static_cast<int>(height),
                         static_cast<int>(width)};
    check_overlap(label_map, values, "logits", false);
    check_overlap(confidence_map, values, "logits", false);
    check_overlap(confidence_map, label_map, "labels", false);
    {
        const py::gil_scoped_release release;
        const auto lock = take(workspace);
        pag::classify(maps, result, pag::chosen_isa(), workspace.pool, workspace.enlarging);
    }
    return py::make_tuple(label_map, confidence_map);
}

// Vectors that are shorter are divided by it.
void check_least(float least) {
    if (!std::isnormal(least * least) || !std::isnormal(1.0F / least) || least < 0.0F)
        refuse("least", "a positive number", std::to_string(least));
}

py::object run_geometry(const py::object& maps, std::int64_t height, std::int64_t width, float least,
                        const py::object& depth, const py::object& normals,
                        pag::Workspace& workspace) {
    const py::array values =
        array_of<float>(maps, "maps", {4, -1, -1}, "contiguous [4,h,w] float32");
    const pag::MapStack stack = stack_of(values, "maps", height, width);
    check_least(least);
    py::array depth_map = prepare_result<float>(depth, "depth", {height, width});
    py::array normal_map = prepare_result<float>(normals, "normals", {height, width, 3});
    pag::GeometryMap result{writable<float>(depth_map, "depth"),
                            writable<float>(normal_map, "normals"), static_cast<int>(height),
                            static_cast<int>(width)};
    check_overlap(depth_map, values, "maps", false, "depth");
    check_overlap(normal_map, values, "maps", false, "normals");
    check_overlap(normal_map, depth_map, "depth", false, "normals");
    {
        const py::gil_scoped_release release;
        const auto lock = take(workspace);
        pag::enlarge_geometry(stack, least, result, pag::chosen_isa(), workspace.pool,
                              workspace.enlarging);
    }
    return py::make_tuple(depth_map, normal_map);
}

py::array run_normals(const py::object& normals, std::int64_t height, std::int64_t width, float least,
                      const py::object& out, pag::Workspace& workspace) {
    const py::array values =
        array_of<float>(normals, "normals", {-1, -1, 3}, "contiguous [h,w,3] float32");
    check_maps(values, "normals", height, width);
    const pag::MapStack stack{data_of<float>(values), 3, static_cast<int>(values.shape(0)),
                              static_cast<int>(values.shape(1)), true};
    check_least(least);
    py::array large = prepare_result<float>(out, "out", {height, width, 3});
    const pag::NormalMap result{writable<float>(large, "out"), static_cast<int>(height),
                                static_cast<int>(width)};
    check_overlap(large, values, "normals", false);
    {
        const py::gil_scoped_release release;
        const auto lock = take(workspace);
        pag::enlarge_normals(stack, least, result, pag::chosen_isa(), workspace.pool,
                             workspace.enlarging);
    }
    return large;
}

// Floating-point operations per second of all threads together, in registers only.
double peak_flops(pag::Workspace& workspace) {
    constexpr int kRounds = 100000;
    const pag::Isa& isa = pag::chosen_isa();
    const int threads = workspace.pool.threads();
    std::atomic<int> started{0};
    std::atomic<double> operations{0.0};
    const py::gil_scoped_release release;
    const auto lock = take(workspace);
    using Clock = std::chrono::steady_clock;
    Clock::time_point began;
    workspace.pool.share(threads, [&](int) {
        // All threads take one part each and begin together.
        if (++started == threads) began = Clock::now();
        while (started < threads) std::this_thread::yield();
        float sink = 0.0F;
        const double done = isa.multiply_add(kRounds, &sink);
        double before = operations.load();
        while (!operations.compare_exchange_weak(before, before + (sink > -1.0F ? done : 0.0))) {
        }
    });
    return operations / std::chrono::duration<double>(Clock::now() - began).count();
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const pag::Isa* isa : pag::available_isas()) names.emplace_back(isa->name);
    return names;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    module.doc() = "Native kernels; pag_ros.kernels documents them.";

    py::class_<pag::Workspace>(module, "Workspace")
        .def(py::init(&make_workspace), py::arg("threads"))
        .def_property_readonly("threads",
                               [](const pag::Workspace& self) { return self.pool.threads(); });

    py::class_<pag::Layer, std::shared_ptr<pag::Layer>>(module, "Layer")
        .def(py::init(&make_layer), py::arg("weight"), py::arg("bias"), py::kw_only(),
             py::arg("dilation") = 1, py::arg("by_map") = false, py::arg("depthwise") = false,
             py::arg("lower") = -kInfinity, py::arg("upper") = kInfinity);

    py::class_<pag::Computation, std::shared_ptr<pag::Computation>>(module, "Computation");

    py::class_<pag::Branch, pag::Computation, std::shared_ptr<pag::Branch>>(module, "Branch")
        .def(py::init(&make_branch), py::arg("layers"), py::arg("residual") = false,
             py::arg("precision") = "fp32")
        .def("run", &run_branch, py::arg("x"), py::arg("index"), py::arg("count"), py::arg("base"),
             py::arg("dilation_map"), py::arg("out"), py::arg("workspace"));

    py::class_<pag::TrunkBlock>(module, "TrunkBlock")
        .def(py::init(&make_block), py::arg("gate"), py::arg("gate_bias"), py::arg("branch"),
             py::arg("predictor"), py::arg("dilations"), py::arg("projection"));

    py::class_<pag::Trunk>(module, "Trunk")
        .def(py::init(&make_trunk), py::arg("blocks"))
        .def("run", &run_trunk, py::arg("x"), py::arg("keep"), py::arg("plan"), py::arg("elapsed"),
             py::arg("index"), py::arg("out"), py::arg("workspace"));

    py::class_<pag::QuantizedLayer, std::shared_ptr<pag::QuantizedLayer>>(module, "QuantizedLayer")
        .def(py::init(&make_quantized_layer), py::arg("weight"), py::arg("bias"), py::arg("scale"),
             py::kw_only(), py::arg("zero_point") = 0, py::arg("dilation") = 1,
             py::arg("by_map") = false, py::arg("passed") = py::none(), py::arg("relu") = false);

    py::class_<pag::QuantizedBranch, pag::Computation, std::shared_ptr<pag::QuantizedBranch>>(
        module, "QuantizedBranch")
        .def(py::init(&make_quantized_branch), py::arg("layers"), py::arg("input_scale"),
             py::arg("residual") = false)
        .def("run", &run_quantized_branch, py::arg("x"), py::arg("index"), py::arg("count"),
             py::arg("base"), py::arg("dilation_map"), py::arg("stream"), py::arg("out"),
             py::arg("workspace"))
        .def("quantize", &quantize, py::arg("x"));

    module.def("select", &run_select, py::arg("score"), py::arg("keep"), py::arg("out"));
    module.def("classify", &run_classify, py::arg("logits"), py::arg("height"), py::arg("width"),
               py::arg("labels"), py::arg("confidence"), py::arg("workspace"));
    module.def("enlarge_geometry", &run_geometry, py::arg("maps"), py::arg("height"),
               py::arg("width"), py::arg("least"), py::arg("depth"), py::arg("normals"),
               py::arg("workspace"));
    module.def("enlarge_normals", &run_normals, py::arg("normals"), py::arg("height"),
               py::arg("width"), py::arg("least"), py::arg("out"), py::arg("workspace"));
    module.def("peak_flops", &peak_flops, py::arg("workspace"));
    module.def("instruction_sets", &instruction_sets);
    module.def("has_native_bf16", [] { return pag::chosen_isa().bf16.native; });
    module.def("chosen_instruction_set", [] { return std::string(pag::chosen_isa().name); });
}
