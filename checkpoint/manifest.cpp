#include "checkpoint/manifest.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/box.h"
#include "model/base/error.h"
#include "model/base/files.h"

namespace skein {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "skein-checkpoint";
constexpr std::uint64_t kVersion = 1;

// ---- writing

Json number(double value) {
    if (std::isfinite(value)) return value;
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

template <class Value, class Convert>
Json object_of(const char* field, const std::vector<std::pair<std::string, Value>>& entries,
               Convert convert) {
    Json out = Json::object();
    for (const auto& [name, value] : entries) {
        if (out.contains(name))
            throw CheckpointError(text("manifest: ", field, ": found '", name, "' twice"));
        out[name] = convert(value);
    }
    return out;
}

Json extents(const Shape& shape) {
    Json out = Json::array();
    for (const std::int64_t extent : shape.extents()) out.push_back(extent);
    return out;
}

Json tensor_json(const TensorRecord& tensor) {
    Json pieces = Json::array();
    for (const TensorPiece& piece : tensor.pieces)
        pieces.push_back({{"file", piece.file},
                          {"dataset", piece.dataset},
                          {"offset", extents(piece.offset)},
                          {"shape", extents(piece.shape)},
                          {"hash", piece.hash}});
    return {{"name", tensor.name},
            {"dtype", std::string(name_of(tensor.dtype))},
            {"shape", extents(tensor.shape)},
            {"pieces", pieces}};
}

/// An array with one element a line.
std::string lines(const Json& array) {
    std::string out = "[";
    for (std::size_t i = 0; i < array.size(); ++i) out += (i == 0 ? "\n  " : ",\n  ") + array[i].dump();
    return out + "]";
}

// ---- reading

/// A JSON value with its path in the file, for messages.
class Field {
  public:
    Field(const Json& value, std::string file, std::string path)
        : value_(value), file_(std::move(file)), path_(std::move(path)) {}

    Field operator[](const std::string& name) const {
        if (!value_.is_object()) wanted("an object");
        const auto found = value_.find(name);
        if (found == value_.end()) throw CheckpointError(text(file_, ": ", path_of(name), " is missing"));
        return {*found, file_, path_of(name)};
    }
    bool has(const std::string& name) const { return value_.is_object() && value_.contains(name); }
    template <class Take>
    void each_element(Take take) const {
        if (!value_.is_array()) wanted("an array");
        for (std::size_t i = 0; i < value_.size(); ++i)
            take(Field(value_[i], file_, text(path_, "[", i, "]")));
    }
    template <class Take>
    void each_member(Take take) const {
        if (!value_.is_object()) wanted("an object");
        for (const auto& [name, value] : value_.items()) take(name, Field(value, file_, path_of(name)));
    }
    bool is_null() const { return value_.is_null(); }
    std::string string() const {
        if (!value_.is_string()) wanted("a string");
        return value_.get<std::string>();
    }
    std::uint64_t count() const {
        if (!value_.is_number_unsigned()) wanted("a count");
        return value_.get<std::uint64_t>();
    }
    double real() const {
        if (value_ == "nan") return std::nan("");
        if (value_ == "inf") return HUGE_VAL;
        if (value_ == "-inf") return -HUGE_VAL;
        if (!value_.is_number()) wanted("a number");
        return value_.get<double>();
    }
    std::string hash() const {
        const std::string out = string();
        if (out.size() != 16 || out.find_first_not_of("0123456789abcdef") != std::string::npos)
            wanted("16 lower-case hexadecimal digits");
        return out;
    }
    Shape shape() const {
        std::vector<std::int64_t> out;
        std::int64_t elements = 1;
        each_element([&](const Field& extent) {
            const std::uint64_t value = extent.count();
            if (value > (std::uint64_t{1} << 48) ||
                __builtin_mul_overflow(elements, value == 0 ? 1 : value, &elements))
                extent.wanted("an extent that fits");
            out.push_back(static_cast<std::int64_t>(value));
        });
        if (out.size() > static_cast<std::size_t>(Shape::kMaxRank))
            wanted(text("at most ", Shape::kMaxRank, " axes"));
        return Shape(out);
    }
    [[noreturn]] void wanted(const std::string& what) const {
        std::string found = value_.dump(-1, ' ', false, Json::error_handler_t::replace);
        if (found.size() > 40) found = found.substr(0, 37) + "...";
        throw CheckpointError(text(file_, ": ", path_, ": found ", found, ", wanted ", what));
    }

  private:
    std::string path_of(const std::string& name) const { return path_.empty() ? name : path_ + "." + name; }

    const Json& value_;
    std::string file_, path_;
};

RunState parse_run(const Field& top) {
    RunState run;
    run.step = top["step"].count();
    run.updates = top["updates"].count();
    const Field place = top["place"];
    run.place = {place["epoch"].count(), place["window"].count(), place["samples"].count()};
    const Field scale = top["loss_scale"];
    run.loss_scale = {scale["scale"].real(), scale["good_steps"].count(),
                      scale.has("overflows") ? scale["overflows"].count() : 0};  // older ones have none
    const auto texts = [&](const std::string& name, NamedTexts& out) {
        top[name].each_member(
            [&](const std::string& key, const Field& value) { out.emplace_back(key, value.string()); });
    };
    texts("configuration", run.configuration);
    texts("leans_on", run.leans_on);
    if (const Field best = top["best"]; !best.is_null())
        run.best = BestMetric{best["value"].real(), best["step"].count()};
    run.patience = top["patience"].count();
    top["averages"].each_member(
        [&](const std::string& key, const Field& value) { run.averages.emplace_back(key, value.real()); });
    top["skips"].each_member(
        [&](const std::string& key, const Field& value) { run.skips.emplace_back(key, value.count()); });
    run.restarts = top["restarts"].count();
    run.seconds = top["seconds"].real();
    run.grid = {top["grid"]["data"].count(), top["grid"]["tensor"].count()};
    return run;
}

FileHash parse_file(const Field& entry) {
    FileHash file{entry["name"].string(), entry["size"].count(), {}};
    if (file.name.empty() || file.name[0] == '.' || file.name.find('/') != std::string::npos ||
        file.name == kManifestName)
        entry["name"].wanted("the plain name of a file other than the manifest");
    entry["blocks"].each_element([&](const Field& block) { file.blocks.push_back(block.hash()); });
    if (file.blocks.size() != file.size / kHashBlockBytes + (file.size % kHashBlockBytes != 0 ? 1 : 0))
        entry["blocks"].wanted(text("a hash for each 8 MiB of ", file.size, " bytes"));
    return file;
}

TensorRecord parse_tensor(const Field& entry, const std::set<std::string>& files) {
    TensorRecord tensor{entry["name"].string(), DType::f32, entry["shape"].shape(), {}};
    try {
        tensor.dtype = dtype_from_name(entry["dtype"].string());
    } catch (const ShapeError&) {
        entry["dtype"].wanted("f32, f64, bf16, f16, i32 or i64");
    }
    std::int64_t covered = 0;
    std::vector<Box> boxes;
    entry["pieces"].each_element([&](const Field& field) {
        TensorPiece piece{field["file"].string(), field["dataset"].string(), field["offset"].shape(),
                          field["shape"].shape(), field["hash"].hash()};
        if (!files.contains(piece.file)) field["file"].wanted("a file that the manifest lists");
        const Box box{piece.offset, piece.shape};
        if (piece.offset.rank() != piece.shape.rank() || !contains(Box::whole(tensor.shape), box) ||
            box.elements() == 0)
            field["shape"].wanted(text("a piece within ", tensor.name, " ", tensor.shape));
        for (const Box& other : boxes)
            if (intersection(other, box)) field["offset"].wanted("pieces that do not overlap");
        covered += box.elements();
        boxes.push_back(box);
        tensor.pieces.push_back(std::move(piece));
    });
    if (covered != tensor.shape.elements())
        entry["pieces"].wanted(
            text("pieces that cover the ", tensor.shape.elements(), " elements of ", tensor.name));
    return tensor;
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
    const RunState& run = manifest.run;
    const auto plain = [](const auto& value) { return Json(value); };
    std::string out = "{\n";
    const auto line = [&](const char* name, const std::string& value) {
        out += text(out.size() > 2 ? ",\n" : "", "\"", name, "\": ", value);
    };
    try {
        line("format", Json(std::string(kFormat)).dump());
        line("version", Json(kVersion).dump());
        line("step", Json(run.step).dump());
        line("updates", Json(run.updates).dump());
        line("place",
             Json{{"epoch", run.place.epoch}, {"window", run.place.window}, {"samples", run.place.samples}}
                 .dump());
        line("configuration", object_of("configuration", run.configuration, plain).dump());
        line("loss_scale", Json{{"scale", number(run.loss_scale.scale)},
                                {"good_steps", run.loss_scale.good_steps},
                                {"overflows", run.loss_scale.overflows}}
                               .dump());
        line("best",
             run.best ? Json{{"value", number(run.best->value)}, {"step", run.best->step}}.dump() : "null");
        line("patience", Json(run.patience).dump());
        line("averages", object_of("averages", run.averages, number).dump());
        line("skips", object_of("skips", run.skips, plain).dump());
        line("restarts", Json(run.restarts).dump());
        line("seconds", number(run.seconds).dump());
        line("leans_on", object_of("leans_on", run.leans_on, plain).dump());
        line("grid", Json{{"data", run.grid.data}, {"tensor", run.grid.tensor}}.dump());
        line("sequence", Json(manifest.sequence).dump());
        line("tokenizer", Json(manifest.tokenizer).dump());
        Json files = Json::array(), tensors = Json::array();
        for (const FileHash& file : manifest.files)
            files.push_back({{"name", file.name}, {"size", file.size}, {"blocks", file.blocks}});
        for (const TensorRecord& tensor : manifest.tensors) tensors.push_back(tensor_json(tensor));
        line("files", lines(files));
        line("tensors", lines(tensors));
    } catch (const Json::exception& error) {
        throw CheckpointError(text("manifest: cannot write it as JSON: ", error.what()));
    }
    return sealed(out + "\n}\n");
}

Manifest parse_manifest(std::string_view manifest_bytes, const std::string& file) {
    Json json;
    try {
        json = Json::parse(manifest_bytes);
    } catch (const Json::exception&) {
        throw CheckpointError(
            text(file, ": is damaged or cut off: found ", manifest_bytes.size(), " bytes that are not JSON"));
    }
    const Field top(json, file, "");
    if (const Field format = top["format"]; format.string() != kFormat)
        format.wanted(text("\"", kFormat, "\""));
    if (const Field version = top["version"]; version.count() != kVersion)
        version.wanted(text("version ", kVersion, ", the one that this program reads"));
    if (!is_sealed(manifest_bytes))
        throw CheckpointError(text(file, ": hash: found text that is not what was written"));

    Manifest out;
    out.run = parse_run(top);
    out.sequence = top["sequence"].count();
    std::set<std::string> files, tensors;
    top["files"].each_element([&](const Field& entry) {
        out.files.push_back(parse_file(entry));
        if (!files.insert(out.files.back().name).second) entry["name"].wanted("each file once");
    });
    top["tokenizer"].each_element([&](const Field& name) {
        out.tokenizer.push_back(name.string());
        if (!files.contains(out.tokenizer.back())) name.wanted("a file that the manifest lists");
    });
    top["tensors"].each_element([&](const Field& entry) {
        out.tensors.push_back(parse_tensor(entry, files));
        if (!tensors.insert(out.tensors.back().name).second) entry["name"].wanted("each tensor once");
    });
    return out;
}

Manifest read_manifest(const std::string& folder) {
    const std::string path = folder + "/" + std::string(kManifestName);
    std::string bytes;
    try {
        bytes = read_file(path);
    } catch (const MissingError& error) {
        throw CheckpointError(error.what());
    } catch (const IoError& error) {
        throw CheckpointError(error.what());
    }
    return parse_manifest(bytes, path);
}

}  // namespace skein
