#include "job.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace pag {

namespace {

// to[i] |= from[i + shift] for every i of a line for which that exists.
void spread(const std::uint8_t* from, std::uint8_t* to, int size, std::int64_t shift) {
    const int first = int(std::clamp<std::int64_t>(-shift, 0, size));
    const int last = int(std::clamp<std::int64_t>(size - shift, 0, size));
    for (int i = first; i < last; ++i) to[i] |= from[i + shift];
}

}  // namespace

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

void mark_wanted(int kernel, int dilation, const Job& job, Workspace& workspace) {
    const int pixels = job.height * job.width;
    auto &wanted = workspace.wanted, &rows = workspace.wanted_rows;
    wanted.assign(pixels, 0);
    for (int position = 0; position < job.count; ++position) wanted[job.index[position]] = 1;
    if (kernel == 1) return;
    rows.assign(pixels, 0);
    for (int column = -kernel / 2; column <= kernel / 2; ++column)
        for (int y = 0; y < job.height; ++y)
            spread(wanted.data() + std::size_t(y) * job.width, rows.data() + std::size_t(y) * job.width,
                   job.width, std::int64_t(column) * dilation);
    std::fill(wanted.begin(), wanted.end(), std::uint8_t{0});
    for (int row = -kernel / 2; row <= kernel / 2; ++row)
        spread(rows.data(), wanted.data(), pixels, std::int64_t(row) * dilation * job.width);
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
