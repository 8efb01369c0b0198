// Gated blocks one after another on one map: scores, choice of pixels and convolutions of them all.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "isa.hpp"
#include "job.hpp"

namespace pag {

// x stays as it is, and becomes at the chosen pixels what the branch makes of it. With a projection
// there is another map behind the block: the projection of x at all pixels, the branch added to it at the
// chosen ones, and nothing below zero.
struct TrunkBlock {
    std::vector<float> gate;  // [channels], weighs a pixel's channels into its score
    float gate_bias;
    std::shared_ptr<const Computation> branch;  // its base is x, with as many outputs, or the projection
    // Of a branch with a dilation map: a pixel's dilation is that of the largest output of the
    // predictor, among equal ones of the first.
    std::shared_ptr<const Computation> predictor;  // or null
    std::vector<std::int32_t> dilations;           // [outputs of the predictor]
    std::shared_ptr<const Computation> projection;  // as many outputs as the branch; or null
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
    // Every block takes the channels that the one before gives; at least one. Those that read one map
    // are all quantized, in the same units, or none of them.
    Trunk(std::vector<TrunkBlock> blocks, const Isa& isa);

    const std::vector<TrunkBlock>& blocks() const { return blocks_; }
    int inputs() const { return blocks_.front().branch->inputs(); }    // channels
    int outputs() const { return blocks_.back().branch->outputs(); }  // channels
    bool projects() const { return last_projection_ >= 0; }

    // x: [height][width][inputs]; y: [height][width][outputs], or x itself where nothing projects.
    // plans, traces: one for each block. elapsed: seconds from the frame's start until now. Returns the
    // seconds until the end.
    double run(const float* x, float* y, int height, int width, const BlockPlan* plans,
               double elapsed, BlockTrace* traces, Workspace& workspace) const;

   private:
    void score(const TrunkBlock& block, const float* map, int pixels, Workspace& workspace) const;
    float* room(int at, std::size_t floats, const float* x, float* y, Workspace& workspace) const;

    std::vector<TrunkBlock> blocks_;
    int last_projection_ = -1;  // the last block with one, -1 if there is none
    const Isa& isa_;
};

}  // namespace pag
