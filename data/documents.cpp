#include "data/documents.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "data/utf8.h"
#include "model/base/error.h"
#include "model/base/files.h"

namespace skein {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::array<std::string_view, 5> kNames{"none", "file", "line", "blank-line", "jsonl"};

using Take = std::function<void(std::string_view, bool)>;

/// Calls `take(segment, is_line_end)` for each line of `piece`; only the last may lack its line end.
template <class Call>
void each_line(std::string_view piece, const Call& take) {
    while (!piece.empty()) {
        const std::size_t end = piece.find('\n');
        take(piece.substr(0, end), end != std::string_view::npos);
        piece.remove_prefix(end == std::string_view::npos ? piece.size() : end + 1);
    }
}

std::string_view without_return(std::string_view line) {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
}

void read_lines(const std::string& path, bool utf8, const Take& take) {
    bool is_open = false;
    read_text(path, utf8, [&](std::string_view piece) {
        each_line(piece, [&](std::string_view line, bool is_line_end) {
            if (is_line_end) line = without_return(line);
            if (!line.empty()) take(line, false);
            is_open = is_open || !line.empty();
            if (is_line_end && is_open) take("", true);
            if (is_line_end) is_open = false;
        });
    });
    if (is_open) take("", true);
}

void read_paragraphs(const std::string& path, bool utf8, const Take& take) {
    bool is_open = false;        // the document has text
    bool is_line_open = false;   // so has its current line
    bool owes_line_end = false;  // between two lines of a document, not after its last one
    read_text(path, utf8, [&](std::string_view piece) {
        each_line(piece, [&](std::string_view line, bool is_line_end) {
            if (is_line_end && !is_line_open && line == "\r") line = "";
            if (!line.empty()) {
                if (owes_line_end) take("\n", false);
                owes_line_end = false;
                take(line, false);
                is_open = is_line_open = true;
            }
            if (!is_line_end) return;
            owes_line_end = is_line_open;
            if (!is_line_open && is_open) {
                take("", true);
                is_open = false;
            }
            is_line_open = false;
        });
    });
    if (is_open) take("", true);
}

void read_json_lines(const std::string& path, const Take& take) {
    std::string line;
    std::uint64_t number = 0;
    const auto finish_line = [&] {
        ++number;
        if (line.find_first_not_of(" \t\r") != std::string::npos) {
            std::string document;
            try {
                nlohmann::json::parse(line).at("text").get_to(document);
            } catch (const nlohmann::json::exception& error) {
                throw DataError(text(path, ", line ", number,
                                     ": wanted a JSON object with a string \"text\": ", error.what()));
            }
            if (!document.empty()) take(document, true);
        }
        line.clear();
    };
    read_text(path, true, [&](std::string_view piece) {
        each_line(piece, [&](std::string_view part, bool is_line_end) {
            line += part;
            if (is_line_end) finish_line();
        });
    });
    finish_line();
}

}  // namespace

Documents documents_from(std::string_view name) {
    const auto found = std::find(kNames.begin(), kNames.end(), name);
    if (found == kNames.end())
        throw ConfigError(
            text("documents: found \"", name, "\", wanted none, file, line, blank-line or jsonl"));
    return static_cast<Documents>(found - kNames.begin());
}

std::string_view name_of(Documents documents) {
    return kNames[static_cast<std::size_t>(documents)];
}

void read_text(const std::string& path, bool utf8, const std::function<void(std::string_view)>& take) {
    if (file_size(path) == 0) throw DataError(text(path, ": is empty, wanted text"));
    std::string held;
    std::uint64_t offset = 0;  // of `held` in the file
    const auto hand_over = [&](std::size_t count) {
        const std::string_view piece = std::string_view(held).substr(0, count);
        if (utf8)
            if (const auto wrong = first_invalid_utf8(piece))
                throw DataError(text(path, ": the byte at offset ", offset + *wrong, " is not UTF-8"));
        if (!piece.empty()) take(piece);
        held.erase(0, count);
        offset += count;
    };
    read_pieces(path, kPieceBytes, [&](std::string_view piece) {
        held += piece;
        const std::size_t line_end = held.rfind('\n');
        if (line_end != std::string::npos) {
            hand_over(line_end + 1);
        } else if (held.size() >= kPieceBytes) {
            hand_over(utf8 ? whole_characters(held) : held.size());
        }
        return true;
    });
    hand_over(held.size());
}

void read_documents(const std::vector<std::string>& files, Documents documents, bool utf8, const Take& take) {
    for (const std::string& path : files) {
        switch (documents) {
            case Documents::kNone:
                read_text(path, utf8, [&](std::string_view piece) { take(piece, false); });
                break;
            case Documents::kFile:
                read_text(path, utf8, [&](std::string_view piece) { take(piece, false); });
                take("", true);
                break;
            case Documents::kLine:
                read_lines(path, utf8, take);
                break;
            case Documents::kBlankLine:
                read_paragraphs(path, utf8, take);
                break;
            case Documents::kJsonLines:
                read_json_lines(path, take);
                break;
        }
    }
}

}  // namespace skein
