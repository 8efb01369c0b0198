// From small maps of log depth and normals to large ones of depth and unit normals.
#pragma once

#include "enlarging.hpp"
#include "isa.hpp"

namespace pag {

struct GeometryMap {
    float* depth;    // [height][width]
    float* normals;  // [height][width][3]
    int height, width;
};

struct NormalMap {
    float* normals;  // [height][width][3]
    int height, width;
};

// maps: log depth and the three components of the normals. Interpolated; then the exponential of the one,
// and the others divided by their length, or by `least` if that is more.
void enlarge_geometry(const MapStack& maps, float least, const GeometryMap& result, const Isa& isa,
                      ThreadPool& pool, EnlargingBuffers& buffers);

// The same of maps that are the three components alone.
void enlarge_normals(const MapStack& maps, float least, const NormalMap& result, const Isa& isa,
                     ThreadPool& pool, EnlargingBuffers& buffers);

}  // namespace pag
