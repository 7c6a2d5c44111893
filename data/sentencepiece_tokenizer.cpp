#include "data/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>

#include "data/utf8.h"
#include "model/base/error.h"

namespace skein {
namespace {

/// What a status says, without the place in SentencePiece's source and the condition, "FILE(LINE) [CONDITION]
/// ".
std::string reason(const sentencepiece::util::Status& status) {
    std::string message = status.ToString();
    if (const std::size_t condition = message.rfind("] ");
        condition != std::string::npos && condition + 2 < message.size())
        message.erase(0, condition + 2);
    std::replace(message.begin(), message.end(), '\n', ' ');
    return message;
}

class SentencePieceTokenizer : public Tokenizer {
  public:
    SentencePieceTokenizer(std::string model, const std::string& origin) : model_(std::move(model)) {
        const auto status = processor_.LoadFromSerializedProto(model_);
        if (!status.ok()) throw DataError(text(origin, ": is not a SentencePiece model: ", reason(status)));
    }

    std::string name() const override { return "sentencepiece"; }
    std::int32_t vocab_size() const override { return processor_.GetPieceSize(); }
    std::optional<std::int32_t> end_of_document() const override {
        const int id = processor_.eos_id();
        return id < 0 ? std::nullopt : std::optional<std::int32_t>(id);
    }
    bool wants_utf8() const override { return true; }

    void encode(std::string_view input, std::vector<std::int32_t>& ids) const override {
        if (const auto wrong = first_invalid_utf8(input))
            throw DataError(text("encode: byte ", *wrong, " of the text is not UTF-8"));
        std::vector<int> line_ids;
        while (!input.empty()) {
            const std::size_t end = std::min(input.find('\n'), input.size() - 1) + 1;
            const auto status = processor_.Encode(input.substr(0, end), &line_ids);
            if (!status.ok()) throw DataError(text("encode: SentencePiece: ", reason(status)));
            ids.insert(ids.end(), line_ids.begin(), line_ids.end());
            input.remove_prefix(end);
        }
    }

    std::string decode(std::span<const std::int32_t> ids) const override {
        for (const std::int32_t id : ids)
            if (id < 0 || id >= vocab_size())
                throw DataError(text("decode: found id ", id, ", wanted one in [0, ", vocab_size(), ")"));
        std::string out;
        const auto status = processor_.Decode(std::vector<int>(ids.begin(), ids.end()), &out);
        if (!status.ok()) throw DataError(text("decode: SentencePiece: ", reason(status)));
        return out;
    }

    std::string file_name() const override { return "tokenizer.model"; }
    const std::string& file_bytes() const override { return model_; }

  private:
    std::string model_;
    sentencepiece::SentencePieceProcessor processor_;
};

/// Hands lines to SentencePiece's trainer; `lines` outlives it.
class Lines : public sentencepiece::SentenceIterator {
  public:
    explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
    bool done() const override { return at_ >= lines_.size(); }
    void Next() override { ++at_; }
    const std::string& value() const override { return lines_[at_]; }
    sentencepiece::util::Status status() const override { return {}; }

  private:
    const std::vector<std::string>& lines_;
    std::size_t at_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string model, const std::string& origin) {
    return std::make_unique<SentencePieceTokenizer>(std::move(model), origin);
}

std::unique_ptr<Tokenizer> train_sentencepiece(const std::vector<std::string>& lines,
                                               const SentencePieceOptions& options) {
    const bool is_identity = options.normalization == "identity";
    const std::unordered_map<std::string, std::string> arguments{
        {"model_type", options.type},
        {"vocab_size", text(options.vocab_size)},
        {"normalization_rule_name", options.normalization},
        {"add_dummy_prefix", is_identity ? "false" : "true"},
        {"remove_extra_whitespaces", is_identity ? "false" : "true"},
        {"byte_fallback", "true"},
        {"character_coverage", text(options.character_coverage)},
        {"unk_id", text(SentencePieceIds::kUnknown)},
        {"bos_id", text(SentencePieceIds::kBegin)},
        {"eos_id", text(SentencePieceIds::kEnd)},
        {"pad_id", text(SentencePieceIds::kPadding)},
        {"max_sentence_length", text(kLongestSentence)},
        {"num_threads", "4"},  // part of the result: the unigram trainer adds floats by thread
        {"minloglevel", "3"},
    };
    Lines iterator(lines);
    std::string model;
    const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &model);
    if (!status.ok())
        throw ConfigError(text("train SentencePiece (", options.type, ", ", options.vocab_size, " pieces, ",
                               lines.size(), " lines): ", reason(status)));
    return make_sentencepiece_tokenizer(std::move(model), "the trained tokenizer");
}

}  // namespace skein
