#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "data/sentencepiece_tokenizer.h"
#include "data/sha256.h"
#include "data/utf8.h"
#include "model/base/error.h"

namespace skein {
namespace {

constexpr const char* kJsonName = "tokenizer.json";
constexpr const char* kModelName = "tokenizer.model";

void require_id(std::int32_t id, std::int32_t vocab_size) {
    if (id < 0 || id >= vocab_size)
        throw DataError(text("decode: found id ", id, ", wanted one in [0, ", vocab_size, ")"));
}

std::string json_file(nlohmann::ordered_json fields) {
    nlohmann::ordered_json out{{"format", "skein-tokenizer"}, {"version", 1}};
    out.update(fields);
    return out.dump(1, ' ', true) + "\n";
}

class BytesTokenizer : public Tokenizer {
  public:
    BytesTokenizer(bool with_end, std::string file) : with_end_(with_end), file_(std::move(file)) {}

    std::string name() const override { return "bytes"; }
    std::int32_t vocab_size() const override { return with_end_ ? 257 : 256; }
    std::optional<std::int32_t> end_of_document() const override {
        return with_end_ ? std::optional<std::int32_t>(256) : std::nullopt;
    }
    bool wants_utf8() const override { return false; }

    void encode(std::string_view input, std::vector<std::int32_t>& ids) const override {
        ids.reserve(ids.size() + input.size());
        for (const char byte : input) ids.push_back(static_cast<unsigned char>(byte));
    }
    std::string decode(std::span<const std::int32_t> ids) const override {
        std::string out;
        for (const std::int32_t id : ids) {
            require_id(id, vocab_size());
            if (id < 256) out += static_cast<char>(id);
        }
        return out;
    }
    std::string file_name() const override { return kJsonName; }
    const std::string& file_bytes() const override { return file_; }

  private:
    bool with_end_;
    std::string file_;
};

class CharsTokenizer : public Tokenizer {
  public:
    CharsTokenizer(std::vector<std::uint32_t> code_points, bool with_end, std::string file)
        : code_points_(std::move(code_points)), with_end_(with_end), file_(std::move(file)) {
        ascii_.fill(-1);
        for (std::size_t i = 0; i < code_points_.size() && code_points_[i] < ascii_.size(); ++i)
            ascii_[code_points_[i]] = static_cast<std::int32_t>(i);
    }

    std::string name() const override { return "chars"; }
    std::int32_t vocab_size() const override {
        return static_cast<std::int32_t>(code_points_.size()) + (with_end_ ? 1 : 0);
    }
    std::optional<std::int32_t> end_of_document() const override {
        return with_end_ ? std::optional<std::int32_t>(vocab_size() - 1) : std::nullopt;
    }
    bool wants_utf8() const override { return true; }

    void encode(std::string_view input, std::vector<std::int32_t>& ids) const override {
        if (const auto wrong = first_invalid_utf8(input))
            throw DataError(text("encode: byte ", *wrong, " of the text is not UTF-8"));
        ids.reserve(ids.size() + input.size());
        while (!input.empty()) {
            const auto byte = static_cast<unsigned char>(input[0]);
            const std::string_view before = input;
            std::int32_t id = -1;
            if (byte < ascii_.size()) {
                id = ascii_[byte];
                input.remove_prefix(1);
            } else {
                id = rank_of(take_code_point(input));
            }
            if (id < 0)
                throw DataError(text("encode: the character '",
                                     before.substr(0, before.size() - input.size()), "' is not among the ",
                                     code_points_.size(), " of the vocabulary"));
            ids.push_back(id);
        }
    }
    std::string decode(std::span<const std::int32_t> ids) const override {
        std::string out;
        for (const std::int32_t id : ids) {
            require_id(id, vocab_size());
            if (static_cast<std::size_t>(id) < code_points_.size())
                append_utf8(out, code_points_[static_cast<std::size_t>(id)]);
        }
        return out;
    }
    std::string file_name() const override { return kJsonName; }
    const std::string& file_bytes() const override { return file_; }

  private:
    std::int32_t rank_of(std::uint32_t code_point) const {
        const auto found = std::lower_bound(code_points_.begin(), code_points_.end(), code_point);
        if (found == code_points_.end() || *found != code_point) return -1;
        return static_cast<std::int32_t>(found - code_points_.begin());
    }

    std::vector<std::uint32_t> code_points_;
    std::array<std::int32_t, 128> ascii_{};  // most text is ASCII
    bool with_end_;
    std::string file_;
};

std::unique_ptr<Tokenizer> parse_json_tokenizer(const std::string& bytes, const std::string& path) {
    std::string kind, characters;
    bool with_end = false;
    try {
        const nlohmann::json json = nlohmann::json::parse(bytes);
        if (json.at("format") != "skein-tokenizer" || json.at("version") != 1)
            throw DataError(text(path, ": wanted format \"skein-tokenizer\", version 1"));
        json.at("kind").get_to(kind);
        json.at("end_of_document").get_to(with_end);
        if (kind == "chars") json.at("characters").get_to(characters);
    } catch (const nlohmann::json::exception& error) {
        throw DataError(text(path, ": is not a tokenizer: ", error.what()));
    }
    if (kind == "bytes") return std::make_unique<BytesTokenizer>(with_end, bytes);
    if (kind == "chars") {
        std::vector<std::uint32_t> code_points;
        for (std::string_view rest = characters; !rest.empty();) code_points.push_back(take_code_point(rest));
        if (!std::is_sorted(code_points.begin(), code_points.end(), std::less_equal<>()))
            throw DataError(text(path, ": the characters are not in order"));
        return std::make_unique<CharsTokenizer>(std::move(code_points), with_end, bytes);
    }
    throw DataError(text(path, ": found kind \"", kind, "\", wanted bytes or chars"));
}

}  // namespace

std::string sha256_of(const Tokenizer& tokenizer) {
    return sha256_hex(tokenizer.file_bytes());
}

std::unique_ptr<Tokenizer> make_bytes_tokenizer(bool with_end) {
    return std::make_unique<BytesTokenizer>(with_end,
                                            json_file({{"kind", "bytes"}, {"end_of_document", with_end}}));
}

std::unique_ptr<Tokenizer> make_chars_tokenizer(const std::vector<std::uint32_t>& code_points,
                                                bool with_end) {
    std::string characters;
    for (const std::uint32_t code_point : code_points) append_utf8(characters, code_point);
    return std::make_unique<CharsTokenizer>(
        code_points, with_end,
        json_file({{"kind", "chars"}, {"end_of_document", with_end}, {"characters", characters}}));
}

void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder, FileSystem& system,
                    const std::string& prefix) {
    write_file_atomic(system, folder + "/" + prefix + tokenizer.file_name(), tokenizer.file_bytes());
}

std::optional<std::string> find_tokenizer_file(const std::string& folder, const std::string& prefix) {
    for (const std::string& name : {prefix + kJsonName, prefix + kModelName}) {
        try {
            static_cast<void>(file_size(folder + "/" + name));
            return name;
        } catch (const MissingError&) {
        }
    }
    return std::nullopt;
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder, const std::string& prefix) {
    const auto name = find_tokenizer_file(folder, prefix);
    if (!name)
        throw MissingError(
            text(folder, ": has no tokenizer (", prefix, kJsonName, " or ", prefix, kModelName, ")"));
    const std::string path = folder + "/" + *name;
    std::string bytes = read_file(path);
    if (name->ends_with(kModelName)) return make_sentencepiece_tokenizer(std::move(bytes), path);
    return parse_json_tokenizer(bytes, path);
}

std::unique_ptr<Tokenizer> load_source_tokenizer(const std::string& folder) {
    return load_tokenizer(folder,
                          find_tokenizer_file(folder, kSourceTokenizerPrefix) ? kSourceTokenizerPrefix : "");
}

}  // namespace skein
