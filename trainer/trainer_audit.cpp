#include <utility>

#include "model/base/error.h"
#include "trainer/parameter_audit.h"
#include "trainer/trainer.h"

namespace skein {

ParameterDigests Trainer::parameter_digests() {
    return digests_of_wholes(parameters(), digests_of_parts(*stream_, parameters()), tensor_ranks_);
}

void Trainer::log_hashes(const ParameterDigests& digests) {
    hashed_step_ = state_.step;
    if (log_) log_->hashes(static_cast<std::int64_t>(state_.step), parameters(), digests);
}

void Trainer::log_hashes() {
    if (config_.log.hash > 0 && hashed_step_ != state_.step) log_hashes(parameter_digests());
}

void Trainer::audit() {
    if (config_.checkpoint.audit == 0 || data_group_->size() == 1) return;
    if (std::exchange(audited_step_, state_.step) == state_.step) return;  // a save may follow an audit
    patience().set_phase("audit at step", static_cast<std::int64_t>(state_.step));
    const std::string difference = difference_of_replicas(
        *stream_,
        replicated_state(parameters(), training_step_->optimizer(), training_step_->sync().sharded()),
        *data_group_, request_.name_of_rank(world_.rank()));
    end_together([&] {  // each data-parallel group has its own; what is being saved was audited before
        if (!difference.empty()) throw ReplicaError(text("audit at step ", state_.step, ": ", difference));
    });
}

}  // namespace skein
