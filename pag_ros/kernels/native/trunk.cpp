#include "trunk.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

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

}  // namespace

Trunk::Trunk(std::vector<TrunkBlock> blocks, std::shared_ptr<const QuantizedBranch> units,
             const Isa& isa)
    : blocks_(std::move(blocks)), units_(std::move(units)), isa_(isa) {}

void Trunk::score(const TrunkBlock& block, const float* map, int pixels,
                  Workspace& workspace) const {
    const int channels = this->channels();
    workspace.scores.resize(pixels);
    workspace.pool.share(ceil_div(pixels, kScoredPixels), [&](int part) {
        const int first = part * kScoredPixels, count = std::min(kScoredPixels, pixels - first);
        isa_.score(map + std::size_t(first) * channels, count, channels, block.gate.data(),
                   block.gate_bias, workspace.scores.data() + first);
    });
}

std::uint8_t* Trunk::quantize(const float* map, int pixels, Workspace& workspace) const {
    if (units_ == nullptr) return nullptr;
    const std::size_t channels = this->channels();
    workspace.stream.resize(pixels * channels);
    workspace.pool.share(ceil_div(pixels, kCopyPixels), [&](int part) {
        const std::size_t first = std::size_t(part) * kCopyPixels * channels;
        const int count = std::min(kCopyPixels, pixels - part * kCopyPixels);
        units_->quantize(map + first, count, workspace.stream.data() + first);
    });
    return workspace.stream.data();
}

double Trunk::run(float* map, int height, int width, const BlockPlan* plans, double elapsed,
                  BlockTrace* traces, Workspace& workspace) const {
    const int pixels = height * width;
    const auto entered = Clock::now();
    const auto now = [&] {
        return elapsed + std::chrono::duration<double>(Clock::now() - entered).count();
    };
    workspace.chosen.resize(pixels);
    std::uint8_t* stream = quantize(map, pixels, workspace);
    for (std::size_t at = 0; at < blocks_.size(); ++at) {
        const TrunkBlock& block = blocks_[at];
        BlockTrace& trace = traces[at];
        score(block, map, pixels, workspace);
        trace.began = now();
        trace.count = affordable(plans[at], trace.began, workspace.scores);
        // Chosen in memory of our own: nobody else can change it while it is used.
        select(workspace.scores.data(), pixels, trace.count, workspace.chosen.data(),
               workspace.selecting);
        std::copy_n(workspace.chosen.data(), trace.count, trace.index);
        if (trace.count == 0) continue;
        Job job{map, height, width, workspace.chosen.data(), trace.count, map, nullptr, map,
                stream, stream};
        if (block.predictor != nullptr) {
            predict(block, job, workspace);
            job.dilation_map = workspace.predicted_dilations.data();
        }
        block.branch->run(job, workspace);
    }
    return now();
}

}  // namespace pag
