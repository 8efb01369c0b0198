// Gated blocks one after another on one map: scores, choice of pixels and convolutions of them all.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "isa.hpp"
#include "job.hpp"
#include "quantized.hpp"

namespace pag {

// x stays as it is, and becomes at the chosen pixels what the branch makes of it.
struct TrunkBlock {
    std::vector<float> gate;  // [channels], weighs a pixel's channels into its score
    float gate_bias;
    std::shared_ptr<const Computation> branch;  // as many outputs as inputs, and x for its base
    // Of a branch with a dilation map: a pixel's dilation is that of the largest output of the
    // predictor, among equal ones of the first.
    std::shared_ptr<const Computation> predictor;  // or null
    std::vector<std::int32_t> dilations;           // [outputs of the predictor]
};

// What one block may compute in one frame.
struct BlockPlan {
    int keep;         // most pixels
    float start;      // seconds after the frame's start by which it has to begin
    float rest;       // seconds of gated work from there on, which trimming can shorten
    float threshold;  // scores that a pixel must exceed
};

// What one block did.
struct BlockTrace {
    std::int32_t* index;  // [height * width], of which `count` are filled
    int count;
    double began;  // seconds after the frame's start
};

class Trunk {
   public:
    // All blocks have the same channels; at least one. units: those of the map that all computations
    // read in place of floats, which then are quantized ones; else null.
    Trunk(std::vector<TrunkBlock> blocks, std::shared_ptr<const QuantizedBranch> units,
          const Isa& isa);

    const std::vector<TrunkBlock>& blocks() const { return blocks_; }
    int channels() const { return blocks_.front().branch->inputs(); }

    // map: [height][width][channels], changed in place. plans, traces: one for each block.
    // elapsed: seconds from the frame's start until now. Returns the seconds until the end.
    double run(float* map, int height, int width, const BlockPlan* plans, double elapsed,
               BlockTrace* traces, Workspace& workspace) const;

   private:
    void score(const TrunkBlock& block, const float* map, int pixels, Workspace& workspace) const;
    std::uint8_t* quantize(const float* map, int pixels, Workspace& workspace) const;

    std::vector<TrunkBlock> blocks_;
    std::shared_ptr<const QuantizedBranch> units_;
    const Isa& isa_;
};

}  // namespace pag
