#include "data/hdf5_library.h"

#include <hdf5.h>

#include <atomic>

namespace skein {
namespace {

static_assert(sizeof(hid_t) == sizeof(std::int64_t) && H5I_INVALID_HID == -1);

/// Numbers are drawn and called.
struct Queue {
    std::atomic<std::uint32_t> drawn{0}, called{0};
};
Queue& library_queue() {
    static Queue one;
    return one;
}

}  // namespace

LibraryLock::LibraryLock() {
    Queue& queue = library_queue();
    const std::uint32_t mine = queue.drawn.fetch_add(1, std::memory_order_relaxed);
    for (std::uint32_t called; (called = queue.called.load(std::memory_order_acquire)) != mine;)
        queue.called.wait(called, std::memory_order_acquire);
    static const bool once = [] {
        H5dont_atexit();
        return true;
    }();
    static_cast<void>(once);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

LibraryLock::~LibraryLock() {
    Queue& queue = library_queue();
    queue.called.fetch_add(1, std::memory_order_release);
    queue.called.notify_all();
}

void Hdf5IdTraits::release(Value id) noexcept {
    H5Idec_ref(id);
}

std::string library_error() {
    std::string message;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
            auto& first = *static_cast<std::string*>(out);
            if (first.empty() && error->desc != nullptr) first = error->desc;
            return 0;
        },
        &message);
    for (char& c : message)
        if (c == '\n') c = ' ';
    // Of a failed system call the library tells time, name, descriptor and addresses; what the system said
    // will do.
    constexpr std::string_view kSystemSaid = "error message = '";
    if (const std::size_t said = message.find(kSystemSaid); said != std::string::npos) {
        const std::size_t begin = said + kSystemSaid.size();
        message = message.substr(begin, message.find('\'', begin) - begin);
    }
    return message.empty() ? "HDF5 gave no reason" : "HDF5: " + message;
}

// Both in the order of Hdf5Type. HDF5's names for types are variables that the library sets when it starts.
std::int64_t memory_type(Hdf5Type type) {
    const hid_t types[] = {H5T_NATIVE_UINT8, H5T_NATIVE_UINT16, H5T_NATIVE_INT32, H5T_NATIVE_UINT32,
                           H5T_NATIVE_INT64, H5T_NATIVE_UINT64, H5T_NATIVE_FLOAT, H5T_NATIVE_DOUBLE};
    return types[static_cast<int>(type)];
}

std::int64_t stored_type(Hdf5Type type) {
    const hid_t types[] = {H5T_STD_U8LE,  H5T_STD_U16LE, H5T_STD_I32LE,  H5T_STD_U32LE,
                           H5T_STD_I64LE, H5T_STD_U64LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE};
    return types[static_cast<int>(type)];
}

std::optional<Hdf5Type> type_of_stored(std::int64_t type) {
    const std::size_t size = H5Tget_size(type);
    const H5T_class_t kind = H5Tget_class(type);
    if (kind == H5T_FLOAT) {
        if (size == 4) return Hdf5Type::kF32;
        if (size == 8) return Hdf5Type::kF64;
    }
    if (kind == H5T_INTEGER) {
        const bool has_sign = H5Tget_sign(type) != H5T_SGN_NONE;
        if (size == 1 && !has_sign) return Hdf5Type::kU8;
        if (size == 2 && !has_sign) return Hdf5Type::kU16;
        if (size == 4) return has_sign ? Hdf5Type::kI32 : Hdf5Type::kU32;
        if (size == 8) return has_sign ? Hdf5Type::kI64 : Hdf5Type::kU64;
    }
    return std::nullopt;
}

std::size_t size_of(Hdf5Type type) {
    constexpr std::size_t kSizes[] = {1, 2, 4, 4, 8, 8, 4, 8};
    return kSizes[static_cast<int>(type)];
}

std::string_view name_of(Hdf5Type type) {
    constexpr std::string_view kNames[] = {"uint8", "uint16", "int32",   "uint32",
                                           "int64", "uint64", "float32", "float64"};
    return kNames[static_cast<int>(type)];
}

}  // namespace skein
