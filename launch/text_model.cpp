#include "launch/text_model.h"

#include <iostream>

#include "checkpoint/checkpoint.h"
#include "launch/device.h"
#include "model/base/error.h"
#include "model/base/parallel_for.h"
#include "trainer/model_state.h"

namespace skein {
namespace {

void require_size(const std::string& folder, const char* whose, const Tokenizer& tokenizer,
                  std::int64_t wanted) {
    if (tokenizer.vocab_size() != wanted)
        throw DataError(text(folder, ": its ", whose, " has a vocabulary of ", tokenizer.vocab_size(),
                             ", the model's is ", wanted));
}

int threads_from(const Arguments& arguments) {
    const int threads = arguments.config.parallel.threads;
    return threads > 0 ? threads : bound_processors();
}

}  // namespace

TextModel::TextModel(const Arguments& arguments, const std::string& command)
    : stream_(device_of_this_process(arguments.config.device, command), threads_from(arguments)) {
    SoloCommunicator alone;
    const Checkpoint checkpoint =
        find_checkpoint(alone, arguments.value("checkpoint"),
                        [](const std::string& line) { std::cerr << line << std::endl; });
    folder_ = checkpoint.folder();
    objective_ = load_objective(checkpoint, alone, stream_);
    if (!find_tokenizer_file(folder_))
        throw DataError(text(folder_,
                             ": holds no tokenizer, as the data that it was trained on had none; wanted one "
                             "to make ids of text"));
    tokenizer_ = load_tokenizer(folder_);
    source_tokenizer_ = load_source_tokenizer(folder_);
    const ModelConfig& model = objective_->model().config();
    require_size(folder_, "tokenizer", *tokenizer_, model.vocabulary);
    if (encoder_decoder()) require_size(folder_, "source tokenizer", *source_tokenizer_, model.source_ids());
}

const Transformer* TextModel::decoder() const {
    return dynamic_cast<const Transformer*>(&objective_->model());
}

const EncoderDecoder* TextModel::encoder_decoder() const {
    return dynamic_cast<const EncoderDecoder*>(&objective_->model());
}

}  // namespace skein
