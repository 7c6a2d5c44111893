#include "trainer/model_state.h"

#include "model/base/error.h"
#include "trainer/options.h"

namespace skein {

std::vector<StateTensor> parameter_tensors(ParameterList& parameters) {
    std::vector<StateTensor> tensors;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        Parameter& parameter = parameters[i];
        tensors.push_back({std::string(kParametersPrefix) + parameter.name, parameter.leaf.value.dtype(),
                           parameter.global_shape, parameter.layout, parameter.leaf.value.raw_span()});
    }
    return tensors;
}

std::unique_ptr<Objective> load_objective(const Checkpoint& checkpoint, Communicator& world, Stream& stream) {
    const RunConfig config = from_settings(checkpoint.manifest().run.configuration);
    std::unique_ptr<Objective> objective = make_objective(stream, config.model, config.train.seed);
    checkpoint.load(world, parameter_tensors(objective->model().parameters()), kParametersPrefix);
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
