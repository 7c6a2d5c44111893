#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace skein {

/// What a document is in a stream of text.
enum class Documents {
    kNone,       // all files are one text without ends
    kFile,       // each file
    kLine,       // each line that is not empty, without its line end
    kBlankLine,  // what stands between empty lines
    kJsonLines,  // the field "text" of each line
};

/// "none", "file", "line", "blank-line", "jsonl". Throws ConfigError for any other.
Documents documents_from(std::string_view name);
std::string_view name_of(Documents documents);

/// Calls `take` with the text of a file in order, in pieces of about 1 MiB which end at a line's end where
/// there is one, else (when `utf8`) between characters. Throws MissingError and IoError; DataError for an
/// empty file and, when `utf8`, for what is not UTF-8, with its byte offset.
void read_text(const std::string& path, bool utf8, const std::function<void(std::string_view)>& take);

/// Calls `take(text, ends)` with the text of the documents of all files in order, in pieces; `ends` is true
/// once at the end of each document (never for kNone) and may come with an empty text. Documents without text
/// are passed over. Holds one piece of text; of kJsonLines one line. Throws as read_text, and DataError with
/// the line for bad JSON.
void read_documents(const std::vector<std::string>& files, Documents documents, bool utf8,
                    const std::function<void(std::string_view, bool)>& take);

}  // namespace skein
