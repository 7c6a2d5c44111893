#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "model/base/files.h"

namespace skein {

/// A small file to be kept with a checkpoint, under a plain name: the tokenizer's.
struct SideFile {
    std::string name, bytes;
};

/// Whether this process may still write in a run's folder; asked before names there change.
using IsOurs = std::function<bool()>;

/// What rank 0 does in OUT/checkpoints when a checkpoint is saved: everything but the ranks' own files. It
/// knows of no ranks and may be used in any one thread at a time. What there is to warn of is added to
/// `notes`. Throws IoError and CheckpointError.
class CheckpointFolder {
  public:
    /// `system` outlives this. See CheckpointStore.
    CheckpointFolder(std::string path, int keep, FileSystem& system, IsOurs is_ours)
        : path_(std::move(path)), keep_(keep), system_(system), is_ours_(std::move(is_ours)) {}

    const std::string& path() const { return path_; }
    FileSystem& system() const { return system_; }
    /// Where the checkpoint NAME is, and where it is written.
    std::string place(const std::string& name) const { return path_ + "/" + name; }
    std::string temporary(const std::string& name) const;

    /// Makes room for NAME and its empty temporary folder; gives the new checkpoint's place in the sequence.
    /// What was left of others' and cannot be removed is a note.
    std::uint64_t prepare(const std::string& name, std::vector<std::string>& notes) const;
    /// Adds model.h5, the tokenizer and last the manifest to what the ranks have written, all durable, and
    /// gives it its name: NAME.tmp becomes NAME.
    void publish(const std::string& name, Manifest manifest, const std::vector<SideFile>& tokenizer) const;
    /// Removes what is neither among the newest nor the best. `newest` is durable. What cannot be removed is
    /// a note.
    void retire(const std::string& newest, const std::optional<BestMetric>& best,
                std::vector<std::string>& notes) const;
    /// Removes NAME.tmp; when it cannot, that is a note.
    void discard(const std::string& name, std::vector<std::string>& notes) const;

  private:
    void check_ours() const;
    void remove_leftovers(const std::string& name, std::vector<std::string>& notes) const;
    void set_bad_aside(const std::string& name, std::vector<std::string>& notes) const;
    void write_side_files(const std::string& temporary, const std::vector<SideFile>& tokenizer,
                          Manifest& manifest) const;
    /// NAME.tmp, complete and with its files durable, becomes NAME.
    void give_name(const std::string& name) const;
    /// Nothing has that name any more; what of it cannot be removed is left to the next save.
    void clear(const std::string& name) const;
    /// Removes a checkpoint so that it is none from the first moment on.
    void remove(const std::string& name) const;

    std::string path_;
    int keep_;
    FileSystem& system_;
    IsOurs is_ours_;  ///< null: it is
};

}  // namespace skein
