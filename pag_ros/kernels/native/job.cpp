#include "job.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace pag {

Job with_own_lists(Job job, Workspace& workspace) {
    workspace.listed.assign(job.index, job.index + job.count);
    job.index = workspace.listed.data();
    if (job.dilation_map != nullptr) {
        const std::int32_t* map = job.dilation_map;
        workspace.dilations.assign(map, map + std::size_t(job.height) * job.width);
        job.dilation_map = workspace.dilations.data();
    }
    return job;
}

void locate(const Job& job, Workspace& workspace) {
    const int pixels = job.height * job.width;
    workspace.position.assign(pixels, job.count);
    for (int position = 0; position < job.count; ++position) {
        const int pixel = job.index[position];
        if (pixel < 0 || pixel >= pixels)
            throw std::invalid_argument("index must name pixels 0 to " + std::to_string(pixels - 1) +
                                        ", got " + std::to_string(pixel));
        if (workspace.position[pixel] != job.count)
            throw std::invalid_argument("index must name every pixel once at most, got " +
                                        std::to_string(pixel) + " twice");
        workspace.position[pixel] = position;
    }
    if (job.dilation_map == nullptr) return;
    const auto& dilations = workspace.dilations;
    if (std::any_of(dilations.begin(), dilations.end(), [](std::int32_t each) { return each < 0; }))
        throw std::invalid_argument("dilation_map holds negative dilations");
}

void copy_unlisted(const Job& job, const std::int32_t* position, int channels, int first, int last) {
    const std::size_t bytes = sizeof(float) * channels;
    for (int pixel = first; pixel < last; ++pixel) {
        if (position[pixel] != job.count) continue;
        float* out = job.out + std::size_t(pixel) * channels;
        if (job.base == nullptr)
            std::memset(out, 0, bytes);
        else
            std::memcpy(out, job.base + std::size_t(pixel) * channels, bytes);
    }
}

}  // namespace pag
