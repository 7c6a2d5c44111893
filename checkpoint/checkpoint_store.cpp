#include "checkpoint/checkpoint_store.h"

#include "model/base/error.h"

namespace skein {

CheckpointStore::CheckpointStore(std::string folder, int keep, Warn warn, FileSystem& system, IsOurs is_ours)
    : folder_(std::move(folder), keep, system, std::move(is_ours)), warn_(std::move(warn)) {
    if (keep < 1) throw ConfigError(text("checkpoint.keep: found ", keep, ", wanted at least 1"));
}

SaveOutcome CheckpointStore::save(Communicator& world, const CheckpointState& state) {
    BackgroundSave saving(folder_, warn_);
    saving.start(world, state, agree_on_shares(world, state.tensors), nullptr);
    return saving.finish(world).value();
}

}  // namespace skein
