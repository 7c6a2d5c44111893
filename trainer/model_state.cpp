#include "trainer/model_state.h"

#include "model/base/error.h"
#include "trainer/options.h"

namespace skein {

void HostState::add(const std::string& name, const Parameter& parameter) {
    tensors_.push_back({name, DType::f32, parameter.global_shape, {}});
}

void HostState::hold(const Parameter& parameter, std::int64_t begin, const Tensor& values) {
    if (!marked_.empty() && !marked_[tensors_.size() - 1]) return;
    copies_.push_back({values, start_on_host(stream_, values)});
    tensors_.back().add_run(parameter.layout, begin, begin + values.elements(),
                            copies_.back().host.raw_span());
}

const std::vector<StateTensor>& HostState::tensors() {
    stream_.synchronize();
    return tensors_;
}

void HostState::write_back() {
    for (const Copy& copy : copies_)
        if (copy.device.device() != Device::cpu) assign_bytes(stream_, copy.device, copy.host.raw_span());
}

void add_parameters(HostState& state, const ParameterList& parameters) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        state.add(std::string(kParametersPrefix) + parameters[i].name, parameters[i]);
        state.hold(parameters[i], 0, parameters[i].leaf.value);
    }
}

void add_training_state(HostState& state, const ParameterList& parameters, const Optimizer& optimizer) {
    std::vector<std::vector<std::size_t>> runs_of(parameters.size());
    for (std::size_t run = 0; run < optimizer.runs().size(); ++run)
        runs_of[optimizer.runs()[run].parameter].push_back(run);
    const auto add = [&](const std::string& kind, const auto& whole, const auto& part) {
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            state.add(kind + parameters[i].name, parameters[i]);
            if (const Tensor& all = whole(i)) {
                state.hold(parameters[i], 0, all);
                continue;
            }
            for (const std::size_t run : runs_of[i])
                state.hold(parameters[i], optimizer.runs()[run].begin, part(run));
        }
    };
    const auto none = [](std::size_t) { return Tensor(); };
    add(
        std::string(kParametersPrefix), [&](std::size_t i) { return parameters[i].leaf.value; },
        [&](std::size_t run) { return optimizer.value(run); });
    add(std::string(kMoment1Prefix), none, [&](std::size_t run) { return optimizer.moment1(run); });
    add(std::string(kMoment2Prefix), none, [&](std::size_t run) { return optimizer.moment2(run); });
}

void load_parameters(const Checkpoint& checkpoint, Communicator& world, ParameterList& parameters,
                     Stream& stream) {
    HostState state(stream);
    add_parameters(state, parameters);
    checkpoint.load(world, state.tensors(), kParametersPrefix);
    state.write_back();
}

std::unique_ptr<Objective> load_objective(const Checkpoint& checkpoint, Communicator& world, Stream& stream,
                                          const TensorSharing& sharing) {
    const RunConfig config = from_settings(checkpoint.manifest().run.configuration);
    std::unique_ptr<Objective> objective = make_objective(stream, config.model, config.train.seed, sharing);
    load_parameters(checkpoint, world, objective->model().parameters(), stream);
    objective->model().parameters().keep_copies(stream, dtype_of(config.train.precision));
    return objective;
}

std::string find_text(const NamedTexts& texts, std::string_view name) {
    for (const auto& [key, value] : texts)
        if (key == name) return value;
    return "";
}

void check_tokenizers(const Manifest& manifest, const DataFolder& folder) {
    const auto check = [&](const char* name, const ShardHeader& header) {
        if (find_text(manifest.run.leans_on, name) != header.tokenizer_sha256)
            throw DataError(text("--data: the ", name, " of ", folder.path,
                                 " is not the one that the checkpoint was trained with"));
    };
    check(kTokenizerName, folder.header);
    if (folder.kind == DataKind::kPairs) check(kSourceTokenizerName, folder.source_header);
}

}  // namespace skein
