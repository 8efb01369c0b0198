#include "trunk.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "quantized.hpp"
#include "select.hpp"

namespace pag {

namespace {

using Clock = std::chrono::steady_clock;

// Pixels that one part scores.
constexpr int kScoredPixels = 128;

// The pixels that a block may still compute; `trimmed_keep` in pag_ros/budget/trimming.py explains it.
int trimmed(int keep, double late, double rest) {
    if (!(late > 0.0)) return keep;
    return late < rest ? int(std::floor(keep * (1.0 - late / rest))) : 0;
}

// How many pixels a block computes that begins `began` seconds after the frame.
int affordable(const BlockPlan& plan, double began, const std::vector<float>& scores) {
    int keep = plan.keep;
    if (plan.threshold > -std::numeric_limits<float>::infinity()) {
        const auto above = std::count_if(scores.begin(), scores.end(),
                                         [&](float each) { return each > plan.threshold; });
        keep = int(std::min<std::ptrdiff_t>(keep, above));
    }
    return trimmed(keep, began - plan.start, plan.rest);
}

// The dilation of every chosen pixel, 0 at the others.
void predict(const TrunkBlock& block, Job job, Workspace& workspace) {
    const std::size_t choices = block.dilations.size(), pixels = std::size_t(job.height) * job.width;
    workspace.predicted.resize(pixels * choices);
    workspace.predicted_dilations.assign(pixels, 0);
    job.base = nullptr;
    job.out = workspace.predicted.data();
    job.next_stream = nullptr;
    block.predictor->run(job, workspace);
    for (int position = 0; position < job.count; ++position) {
        const std::size_t pixel = job.index[position];
        const float* outputs = workspace.predicted.data() + pixel * choices;
        const float* best = std::max_element(outputs, outputs + choices);
        workspace.predicted_dilations[pixel] = block.dilations[best - outputs];
    }
}

// work(first, last) for all pixels, some at a time.
template <typename Work>
void share_pixels(int pixels, Workspace& workspace, const Work& work) {
    workspace.pool.share(ceil_div(pixels, kCopyPixels), [&](int part) {
        work(part * kCopyPixels, std::min((part + 1) * kCopyPixels, pixels));
    });
}

// The map in the units of the block that reads it first, or null if that is none of quantized ones.
std::uint8_t* quantize(const TrunkBlock& block, const float* map, int pixels,
                       Workspace& workspace) {
    const auto* units = dynamic_cast<const QuantizedBranch*>(block.branch.get());
    if (units == nullptr) return nullptr;
    const std::size_t channels = units->inputs();
    workspace.stream.resize(pixels * channels);
    share_pixels(pixels, workspace, [&](int first, int last) {
        units->quantize(map + first * channels, last - first,
                        workspace.stream.data() + first * channels);
    });
    return workspace.stream.data();
}

void copy_map(const Job& job, std::size_t channels, Workspace& workspace) {
    if (job.out == job.x) return;
    share_pixels(job.height * job.width, workspace, [&](int first, int last) {
        std::copy(job.x + first * channels, job.x + last * channels, job.out + first * channels);
    });
}

// Chooses the pixels of a block by workspace.scores. Returns their number.
int choose(const BlockPlan& plan, int pixels, BlockTrace& trace, Workspace& workspace) {
    trace.count = affordable(plan, trace.began, workspace.scores);
    // Chosen in memory of our own: nobody else can change it while it is used.
    select(workspace.scores.data(), pixels, trace.count, workspace.chosen.data(),
           workspace.selecting);
    std::copy_n(workspace.chosen.data(), trace.count, trace.index);
    return trace.count;
}

// job.out becomes the block's projection of job.x, at all pixels.
void project(const TrunkBlock& block, Job job, Workspace& workspace) {
    job.count = job.height * job.width;
    workspace.everywhere.resize(job.count);
    std::iota(workspace.everywhere.begin(), workspace.everywhere.end(), 0);
    job.index = workspace.everywhere.data();
    block.projection->run(job, workspace);
}

// Adds to job.out at the chosen pixels what the branch makes of job.x.
void add_branch(const TrunkBlock& block, Job job, std::uint8_t* next_stream,
                Workspace& workspace) {
    if (job.count == 0) return;
    job.base = job.out;
    job.next_stream = next_stream;
    if (block.predictor != nullptr) {
        predict(block, job, workspace);
        job.dilation_map = workspace.predicted_dilations.data();
    }
    block.branch->run(job, workspace);
}

// Nothing of the map below zero.
void rectify(float* map, std::size_t channels, int pixels, Workspace& workspace) {
    share_pixels(pixels, workspace, [&](int first, int last) {
        float* from = map + first * channels;
        std::transform(from, map + last * channels, from,
                       [](float value) { return value < 0.0F ? 0.0F : value; });
    });
}

}  // namespace

Trunk::Trunk(std::vector<TrunkBlock> blocks, const Isa& isa)
    : blocks_(std::move(blocks)), isa_(isa) {
    for (std::size_t at = 0; at < blocks_.size(); ++at)
        if (blocks_[at].projection != nullptr) last_projection_ = int(at);
}

void Trunk::score(const TrunkBlock& block, const float* map, int pixels,
                  Workspace& workspace) const {
    const int channels = block.branch->inputs();
    workspace.scores.resize(pixels);
    workspace.pool.share(ceil_div(pixels, kScoredPixels), [&](int part) {
        const int first = part * kScoredPixels, count = std::min(kScoredPixels, pixels - first);
        isa_.score(map + std::size_t(first) * channels, count, channels, block.gate.data(),
                   block.gate_bias, workspace.scores.data() + first);
    });
}

// Where the map behind block `at` goes (-1: that before the first one), which stays in place until the
// next projection: into y if there is none, else beside the map x that it is made of.
float* Trunk::room(int at, std::size_t floats, const float* x, float* y,
                   Workspace& workspace) const {
    if (at >= last_projection_) return y;
    auto& map = workspace.maps[x == workspace.maps[0].data() ? 1 : 0];
    if (map.size() < floats) map.resize(floats);
    return map.data();
}

double Trunk::run(const float* x, float* y, int height, int width, const BlockPlan* plans,
                  double elapsed, BlockTrace* traces, Workspace& workspace) const {
    const int pixels = height * width;
    const auto entered = Clock::now();
    const auto now = [&] {
        return elapsed + std::chrono::duration<double>(Clock::now() - entered).count();
    };
    workspace.chosen.resize(pixels);
    Job job{x, height, width, workspace.chosen.data(), 0, nullptr, nullptr, nullptr, nullptr, nullptr};
    if (blocks_.front().projection == nullptr) {
        // x is written to only where it is y; a projection reads it where it is.
        const std::size_t floats = std::size_t(pixels) * inputs();
        job.out = room(-1, floats, x, y, workspace);
        copy_map(job, inputs(), workspace);
        job.x = job.out;
    }
    std::uint8_t* stream = quantize(blocks_.front(), job.x, pixels, workspace);
    for (std::size_t at = 0; at < blocks_.size(); ++at) {
        const TrunkBlock& block = blocks_[at];
        score(block, job.x, pixels, workspace);
        traces[at].began = now();
        job.count = choose(plans[at], pixels, traces[at], workspace);
        job.stream = stream;
        if (block.projection == nullptr) {
            add_branch(block, job, stream, workspace);
            continue;
        }
        const std::size_t floats = std::size_t(pixels) * block.branch->outputs();
        job.out = room(int(at), floats, job.x, y, workspace);
        project(block, job, workspace);
        add_branch(block, job, nullptr, workspace);
        rectify(job.out, block.branch->outputs(), pixels, workspace);
        job.x = job.out;
        if (at + 1 < blocks_.size())
            stream = quantize(blocks_[at + 1], job.x, pixels, workspace);
    }
    return now();
}

}  // namespace pag
