// `skein train` with one rank that does not do as the others, for broken_run_test.cpp.
// ODD_RANK="RANK STEP WHAT" in the environment: in that step, counted from where this start begins, that
// rank throws ("throw"), or calls a collective that the others do not ("barrier").

#include <cstdlib>
#include <sstream>

#include "launch/command_line.h"
#include "launch/commands.h"
#include "launch/ranks.h"
#include "model/base/error.h"
#include "trainer/trainer.h"

namespace skein {
namespace {

struct Oddity {
    int rank = -1, step = 0;
    std::string what;
};

Oddity oddity_of_environment() {
    Oddity oddity;
    const char* given = std::getenv("ODD_RANK");
    if (!given || !(std::istringstream(given) >> oddity.rank >> oddity.step >> oddity.what)) std::abort();
    return oddity;
}

/// All ranks as the trainer's data group, in which a step makes one call of its own: the samples' losses.
/// What gradients go through is a duplicate.
class OddGroup final : public Communicator {
  public:
    OddGroup(Communicator& group, Oddity oddity) : group_(group), oddity_(std::move(oddity)) {}

    int rank() const override { return group_.rank(); }
    int size() const override { return group_.size(); }
    Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive,
                           const CallSite& site) override {
        if (++calls_ == oddity_.step && rank() == oddity_.rank) {
            if (oddity_.what == "throw") throw Error("the weather is too bad to fly");
            group_.barrier();
        }
        return group_.start_exchange(send, receive, site);
    }
    Pending start_fast_all_reduce(std::span<float> values, std::source_location where) override {
        return group_.start_fast_all_reduce(values, where);
    }
    std::unique_ptr<Communicator> duplicate() override { return group_.duplicate(); }

  private:
    Communicator& group_;
    Oddity oddity_;
    int calls_ = 0;
};

int train_oddly(const Arguments& arguments, Ranks& ranks) {
    const std::unique_ptr<Communicator> group = ranks.world().duplicate();
    OddGroup odd(*group, oddity_of_environment());
    TrainRequest request;
    request.config = arguments.config;
    request.given = arguments.given;
    request.data = arguments.value("data");
    request.out = arguments.value("out");
    request.patience = &ranks.session().patience();
    request.threads = [](int) { return 1; };
    request.place = [&](const RunConfig&) {
        RankPlace place;
        place.data = &odd;
        return place;
    };
    const StopSignal stop;
    Trainer trainer(std::move(request), ranks.world(), [&](const auto& part) { ranks.together(part); }, {});
    trainer.run(stop);
    return 0;
}

}  // namespace
}  // namespace skein

int main(int argc, char** argv) {
    skein::Command command = skein::train_command();
    command.run_on_ranks = skein::train_oddly;
    return skein::run_on_ranks(command, std::vector<std::string>(argv + std::min(argc, 2), argv + argc));
}
