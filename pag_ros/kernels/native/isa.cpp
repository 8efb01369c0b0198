#include "isa.hpp"

#include <cstdlib>
#include <stdexcept>

namespace pag {

namespace portable {
extern const Isa kIsa;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Isa kIsa;
}
namespace avx512 {
extern const Isa kIsa;
}
#endif

const std::vector<const Isa*>& available_isas() {
    static const std::vector<const Isa*> isas = [] {
        std::vector<const Isa*> found;
#if defined(__x86_64__)
        __builtin_cpu_init();
        const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
            found.push_back(&avx512::kIsa);
        if (has_avx2) found.push_back(&avx2::kIsa);
#endif
        found.push_back(&portable::kIsa);
        return found;
    }();
    return isas;
}

const Isa& chosen_isa() {
    const char* wanted = std::getenv("PAG_ROS_ISA");
    if (wanted == nullptr || *wanted == '\0') return *available_isas().front();
    std::string names;
    for (const Isa* isa : available_isas()) {
        if (std::string(wanted) == isa->name) return *isa;
        names += names.empty() ? isa->name : std::string(", ") + isa->name;
    }
    throw std::invalid_argument("PAG_ROS_ISA is " + std::string(wanted) +
                                ", this processor has " + names);
}

}  // namespace pag
