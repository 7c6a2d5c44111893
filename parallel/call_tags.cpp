#include "parallel/call_tags.h"

#include <string_view>

#include "model/base/error.h"

namespace skein {
namespace {

std::uint32_t mix(std::uint32_t hash, std::string_view bytes) {  // FNV-1a
    for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 16777619u;
    return hash;
}

}  // namespace

std::uint32_t CallPlaces::add(const CallSite& site) {
    Recent& recent = recent_[site.where.line() % recent_.size()];
    if (recent.site.name == site.name && recent.site.where.line() == site.where.line() &&
        recent.site.where.file_name() == site.where.file_name())
        return recent.hash;
    std::uint32_t hash = mix(mix(2166136261u, site.name), path_from_root(site.where));
    hash = mix(hash, std::to_string(site.where.line()));
    hash = (hash ^ hash >> 16) & mask_;
    recent = {site, hash};
    known_.emplace(hash, site);
    return hash;
}

std::string CallPlaces::describe(std::uint32_t hash) const {
    const auto found = known_.find(hash);
    return found != known_.end() ? to_text(found->second)
                                 : text("a collective that this rank has not met (", hash, ")");
}

}  // namespace skein
