#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "trainer/config.h"

namespace skein {

/// Throws ConfigError, naming both options, where values that are each allowed contradict each other.
void validate(const RunConfig& config);

/// The configuration with what follows from other values written out: model.kv-heads, model.ff,
/// parallel.lanes and schedule.horizon. It is what config.ini and the manifest hold, so that no later default
/// changes a run.
RunConfig effective(const RunConfig& config);

/// Updates of warm-up: the number itself, or the share of `horizon`, rounded, at least one for a share above
/// zero.
std::int64_t warmup_updates(const std::string& warmup, std::int64_t horizon);

/// One option in which a resumed run differs from its checkpoint.
struct ResumeChange {
    std::string name;
    std::string saved;
    std::string wanted;
};

/// What resuming with other options comes to.
struct ResumeComparison {
    RunConfig config;                   ///< the saved one with every accepted change
    std::vector<ResumeChange> silent;   ///< accepted
    std::vector<ResumeChange> notices;  ///< accepted, to be said and written to runs.jsonl
    std::vector<ResumeChange> refused;  ///< not in `config`
};

/// A resumed run starts from the saved configuration (an effective one). Of `wanted` it looks only at the
/// options in `given`; a 0 that means "work it out" leaves what was worked out at the first start. So the
/// schedule's horizon stays unless it is given.
ResumeComparison compare_for_resume(const RunConfig& saved, const RunConfig& wanted,
                                    const std::set<std::string>& given);

/// Throws ConfigError that names the first refused option with both values, if there is one.
void require_none_refused(const ResumeComparison& comparison);

}  // namespace skein
