#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/box.h"
#include "checkpoint/manifest.h"
#include "checkpoint/share.h"
#include "checkpoint/state_tensor.h"
#include "data/hdf5_file.h"
#include "model/base/files.h"

namespace skein {

/// "rank-00003.h5"
std::string rank_file_name(int rank);

/// Of a piece in its rank's file: "/NAME", or "/NAME@2" for what is at place 2 of tensor NAME there.
std::string dataset_name(const StateTensor& tensor, const SharePiece& piece);

/// A dataset that a rank writes.
struct RankPiece {
    std::string dataset;
    DType dtype = DType::f32;
    Shape shape;
    std::span<const std::byte> bytes;  ///< row-major; borrowed
};

/// Those of `pieces` that are this rank's, in their order, with the bytes that the tensors hold. Throws
/// CheckpointError when they do not hold them.
std::vector<RankPiece> pieces_of_rank(int rank, std::span<const StateTensor> tensors,
                                      std::span<const SharePiece> pieces);

/// Writes FOLDER/rank-NNNNN.h5 with these datasets. bf16 and f16 are stored as uint16. It is not durable
/// before sync_file(). Gives the XXH3 of each piece's bytes in memory, in their order. Throws IoError, also
/// soon after `stop` was asked for.
std::vector<std::string> write_rank_file(FileSystem& system, const std::string& folder, int rank,
                                         std::span<const RankPiece> pieces, const std::stop_token& stop = {});

/// Writes FOLDER/model.h5: each parameter whole, under its name without "parameters/", as a virtual dataset
/// over the rank files, fill value NaN; and fsyncs it. Throws IoError.
void write_model_file(FileSystem& system, const std::string& folder, std::span<const TensorRecord> tensors);

/// Reads boxes of tensors out of a checkpoint's rank files, whose bytes were verified before.
class PieceReader {
  public:
    explicit PieceReader(std::string folder) : folder_(std::move(folder)) {}

    /// Fills `out` with the box, row-major. A piece that is read whole must have the hash that it had in
    /// memory when it was written. Throws CheckpointError that names the file and the tensor.
    void read(const TensorRecord& tensor, const Box& box, std::span<std::byte> out);

  private:
    void read_piece(const TensorRecord& tensor, const TensorPiece& piece, const Box& part, const Box& box,
                    std::span<std::byte> out);

    std::string folder_;
    std::map<std::string, Hdf5File> files_;
    std::vector<std::byte> buffer_;
};

}  // namespace skein
