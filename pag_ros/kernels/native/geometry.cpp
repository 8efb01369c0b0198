#include "geometry.hpp"

namespace pag {

void enlarge_geometry(const MapStack& maps, float least, const GeometryMap& result, const Isa& isa,
                      ThreadPool& pool, EnlargingBuffers& buffers) {
    const Enlarging enlarging(maps, result.height, result.width, buffers);
    enlarging.run(pool, [&](const EnlargedRows& rows) {
        const std::size_t first = std::size_t(rows.y) * result.width;
        isa.geometry(rows.upper, rows.lower, rows.share, rows.stride, result.width, least,
                     result.depth + first, result.normals + 3 * first);
    });
}

}  // namespace pag
