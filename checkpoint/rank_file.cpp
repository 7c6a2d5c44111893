#include "checkpoint/rank_file.h"

#include <algorithm>
#include <cstdio>

#include "model/base/error.h"
#include "model/base/hash.h"

namespace skein {
namespace {

constexpr std::int64_t kReadBytes = std::int64_t{8} << 20;  // at most, but for a row that is longer
constexpr std::size_t kWriteBytes = std::size_t{8} << 20;   // between which others may use the library

Hdf5Type stored_type(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return Hdf5Type::kF32;
        case DType::f64:
            return Hdf5Type::kF64;
        case DType::bf16:
        case DType::f16:
            return Hdf5Type::kU16;
        case DType::i32:
            return Hdf5Type::kI32;
        case DType::i64:
            return Hdf5Type::kI64;
    }
    throw CheckpointError("checkpoint: a dtype that files have no type for");
}

std::vector<std::uint64_t> extents(const Shape& shape) {
    return {shape.extents().begin(), shape.extents().end()};
}
/// HDF5 files of ours have no datasets of rank 0.
std::vector<std::uint64_t> dataset_extents(const Shape& shape) {
    return shape.rank() == 0 ? std::vector<std::uint64_t>{1} : extents(shape);
}

/// Whole rows of a box that is held: they are contiguous in it.
std::span<const std::byte> bytes_of(const StateTensor& tensor, const Box& rows) {
    const auto held = std::ranges::find_if(
        tensor.parts, [&](const StateTensor::Part& part) { return contains(part.box, rows); });
    if (held == tensor.parts.end())
        throw CheckpointError(
            text("save ", tensor.name, ": found no part that holds ", rows.count, " at ", rows.start));
    std::int64_t first = 0;
    if (rows.count.rank() > 0) first = (rows.start[0] - held->box.start[0]) * held->box.row_elements();
    const std::size_t element = size_of(tensor.dtype);
    return held->bytes.subspan(static_cast<std::size_t>(first) * element,
                               static_cast<std::size_t>(rows.elements()) * element);
}

/// Both have all of the same range of each axis but the first.
bool has_same_rows(const Box& one, const Box& other) {
    for (int axis = 1; axis < one.count.rank(); ++axis)
        if (one.start[axis] != other.start[axis] || one.count[axis] != other.count[axis]) return false;
    return true;
}

}  // namespace

std::string rank_file_name(int rank) {
    char name[32];
    std::snprintf(name, sizeof name, "rank-%05d.h5", rank);
    return name;
}

std::string dataset_name(const StateTensor& tensor, const SharePiece& piece) {
    return piece.place == 0 ? "/" + tensor.name : text("/", tensor.name, "@", piece.place);
}

std::vector<RankPiece> pieces_of_rank(int rank, std::span<const StateTensor> tensors,
                                      std::span<const SharePiece> pieces) {
    std::vector<RankPiece> out;
    for (const SharePiece& piece : pieces) {
        if (piece.rank != rank) continue;
        const StateTensor& tensor = tensors[piece.tensor];
        out.push_back(
            {dataset_name(tensor, piece), tensor.dtype, piece.box.count, bytes_of(tensor, piece.box)});
    }
    return out;
}

std::vector<std::string> write_rank_file(FileSystem& system, const std::string& folder, int rank,
                                         std::span<const RankPiece> pieces, const std::stop_token& stop) {
    std::vector<std::string> hashes;
    const std::string path = folder + "/" + rank_file_name(rank);
    Hdf5File file = Hdf5File::create(path, system);
    file.set_attribute("format", "skein-checkpoint-rank");
    file.set_attribute("version", std::int64_t{1});
    for (const RankPiece& piece : pieces) {
        file.create_dataset(piece.dataset, stored_type(piece.dtype), dataset_extents(piece.shape));
        StreamingHash hash;
        for (std::size_t at = 0; at < piece.bytes.size(); at += kWriteBytes) {
            if (stop.stop_requested()) throw IoError(text("write ", path, ": given up"));
            const auto slice = piece.bytes.subspan(at, std::min(kWriteBytes, piece.bytes.size() - at));
            hash.update(slice);
            file.write_bytes(piece.dataset, at / size_of(piece.dtype), slice);
        }
        hashes.push_back(hash.hex());
    }
    file.close_unsynced();
    return hashes;
}

void write_model_file(FileSystem& system, const std::string& folder, std::span<const TensorRecord> tensors) {
    Hdf5File file = Hdf5File::create(folder + "/" + std::string(kModelFileName), system);
    file.set_attribute("format", "skein-model");
    file.set_attribute("version", std::int64_t{1});
    for (const TensorRecord& tensor : tensors) {
        if (!tensor.name.starts_with(kParametersPrefix)) continue;
        std::vector<Hdf5VirtualPiece> sources;
        for (const TensorPiece& piece : tensor.pieces)
            sources.push_back(
                {piece.file, piece.dataset, dataset_extents(piece.shape),
                 piece.offset.rank() == 0 ? std::vector<std::uint64_t>{0} : extents(piece.offset),
                 dataset_extents(piece.shape)});
        file.create_virtual(text("/", tensor.name.substr(kParametersPrefix.size())),
                            stored_type(tensor.dtype), dataset_extents(tensor.shape), sources);
    }
    file.close();
}

void PieceReader::read(const TensorRecord& tensor, const Box& box, std::span<std::byte> out) {
    for (const TensorPiece& piece : tensor.pieces)
        if (const auto part = intersection(box, Box{piece.offset, piece.shape}))
            read_piece(tensor, piece, *part, box, out);
}

/// `part` is what `piece` and `box` share. Reads whole rows of the piece, some at a time: those along the
/// first axis of which the part has more than one index.
void PieceReader::read_piece(const TensorRecord& tensor, const TensorPiece& piece, const Box& part,
                             const Box& box, std::span<std::byte> out) {
    Box stored{piece.offset, piece.shape};
    const std::size_t element = size_of(tensor.dtype);
    const bool scalar = stored.count.rank() == 0;
    std::int64_t row = stored.elements(), begin = 0;  // elements of a row; where `stored` begins in the piece
    int axis = 0;
    for (; !scalar; ++axis) {
        row /= stored.count[axis];
        if (axis + 1 == stored.count.rank() || part.count[axis] > 1) break;
        const std::int64_t index = part.start[axis] - stored.start[axis];
        begin += index * row;
        stored = stored.along(axis, index, index + 1);
    }
    const std::int64_t first = scalar ? 0 : part.start[axis] - stored.start[axis];
    const std::int64_t rows = scalar ? 1 : part.count[axis];
    const std::int64_t step =
        std::max<std::int64_t>(1, kReadBytes / (row * static_cast<std::int64_t>(element)));
    StreamingHash hash;
    try {
        auto found = files_.find(piece.file);
        if (found == files_.end())
            found = files_.emplace(piece.file, Hdf5File::open_readonly(folder_ + "/" + piece.file)).first;
        const Hdf5File& file = found->second;
        if (file.type(piece.dataset) != stored_type(tensor.dtype) ||
            file.shape(piece.dataset) != dataset_extents(piece.shape))
            throw DataError(text("dataset ", piece.dataset, ": found ", name_of(file.type(piece.dataset)),
                                 " of ", file.elements(piece.dataset), " elements, wanted ",
                                 name_of(tensor.dtype), " ", piece.shape));
        const bool in_place =
            axis == 0 && !scalar && has_same_rows(stored, part) && has_same_rows(stored, box);
        for (std::int64_t at = 0; at < rows; at += step) {
            const std::int64_t count = std::min(step, rows - at);
            const std::size_t bytes = static_cast<std::size_t>(count * row) * element;
            std::span<std::byte> target;
            if (in_place) {
                const std::int64_t before = (part.start[0] - box.start[0] + at) * row;
                target = out.subspan(static_cast<std::size_t>(before) * element, bytes);
            } else {
                buffer_.resize(bytes);
                target = buffer_;
            }
            file.read_bytes(piece.dataset, static_cast<std::uint64_t>(begin + (first + at) * row), target);
            hash.update(target);
            if (in_place) continue;
            const Box read = scalar ? stored : stored.along(axis, first + at, first + at + count);
            if (const auto shared = intersection(read, part))
                copy_box(*shared, element, read, buffer_.data(), box, out.data());
        }
    } catch (const Error& error) {
        throw CheckpointError(
            text("read ", tensor.name, " from ", folder_, "/", piece.file, ": ", error.what()));
    }
    const bool read_whole = rows * row == piece.shape.elements();
    if (read_whole && hash.hex() != piece.hash)
        throw CheckpointError(text("read ", tensor.name, " from ", folder_, "/", piece.file,
                                   ": found bytes with hash ", hash.hex(), ", wanted ", piece.hash));
}

}  // namespace skein
