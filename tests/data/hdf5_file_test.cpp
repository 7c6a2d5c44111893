#include "data/hdf5_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cerrno>
#include <cmath>
#include <fstream>
#include <numeric>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

template <class T>
std::vector<T> counted(std::size_t count, T first = 0) {
    std::vector<T> out(count);
    std::iota(out.begin(), out.end(), first);
    return out;
}

template <class Type, class Call>
std::string message_of(const Call& call) {
    try {
        call();
    } catch (const Type& error) {
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
}

TEST(Hdf5File, RoundTripsAttributesAndDatasetsOfEveryKind) {
    const TemporaryFolder folder;
    const auto floats = counted<float>(24);
    const auto tokens = counted<std::uint16_t>(1000);
    {
        Hdf5File file = Hdf5File::create(folder / "a.h5");
        file.set_attribute("format", "skein-ü");
        file.set_attribute("version", std::int64_t{-7});
        file.create_dataset("/parameters/block.0/weight", Hdf5Type::kF32, {4, 6});
        file.create_dataset("/source/tokens", Hdf5Type::kU16, {1000}, {.fletcher32 = true, .chunk = {64}});
        file.create_dataset("/none", Hdf5Type::kU64, {0}, {.fletcher32 = true});
        file.write<float>("/parameters/block.0/weight", 0, floats);
        file.write<std::uint16_t>("/source/tokens", 0, tokens);
        file.close();
    }
    const Hdf5File file = Hdf5File::open_readonly(folder / "a.h5");
    EXPECT_EQ(file.string_attribute("format"), "skein-ü");
    EXPECT_EQ(file.int_attribute("version"), -7);
    EXPECT_EQ(file.list(),
              (std::vector<std::string>{"/none", "/parameters/block.0/weight", "/source/tokens"}));
    EXPECT_EQ(file.shape("/parameters/block.0/weight"), (std::vector<std::uint64_t>{4, 6}));
    EXPECT_EQ(file.type("/source/tokens"), Hdf5Type::kU16);
    EXPECT_EQ(file.elements("/none"), 0u);
    EXPECT_TRUE(file.has_dataset("/source/tokens"));
    EXPECT_FALSE(file.has_dataset("/source"));
    EXPECT_FALSE(file.has_dataset("/target/tokens"));
    std::vector<std::uint16_t> some(700);
    file.read<std::uint16_t>("/source/tokens", 123, some);
    EXPECT_EQ(some, counted<std::uint16_t>(700, 123));
}

TEST(Hdf5File, ReadsAndWritesEveryFlatRangeOfAnArrayWithSeveralAxes) {
    const TemporaryFolder folder;
    constexpr std::uint64_t kAll = 3 * 4 * 5;
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.create_dataset("/x", Hdf5Type::kI32, {3, 4, 5}, {.chunk = {2, 2, 2}});
    file.write<std::int32_t>("/x", 0, counted<std::int32_t>(kAll));
    for (std::uint64_t begin = 0; begin <= kAll; ++begin)
        for (std::uint64_t end = begin; end <= kAll; ++end) {
            std::vector<std::int32_t> part(end - begin);
            file.read<std::int32_t>("/x", begin, part);
            ASSERT_EQ(part, counted<std::int32_t>(end - begin, static_cast<std::int32_t>(begin)));
            file.write<std::int32_t>("/x", begin, part);
        }
    std::vector<std::int32_t> all(kAll);
    file.read<std::int32_t>("/x", 0, all);
    EXPECT_EQ(all, counted<std::int32_t>(kAll));
}

TEST(Hdf5File, SlicesLongTransfersWithoutASeam) {
    const TemporaryFolder folder;
    const auto values = counted<std::uint32_t>((std::size_t{20} << 20) / 4 + 3);  // 20 MB, 2.5 slices
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.create_dataset("/x", Hdf5Type::kU32, {values.size()}, {.fletcher32 = true});
    file.write<std::uint32_t>("/x", 0, values);
    file.close();
    std::vector<std::uint32_t> back(values.size());
    Hdf5File::open_readonly(folder / "a.h5").read<std::uint32_t>("/x", 0, back);
    EXPECT_TRUE(back == values);
}

TEST(Hdf5File, AppendsToAnExtendibleDataset) {
    const TemporaryFolder folder;
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.create_dataset("/x", Hdf5Type::kU64, {0}, {.fletcher32 = true, .extendible = true, .chunk = {7}});
    for (std::uint64_t i = 0; i < 10; ++i) file.append<std::uint64_t>("/x", counted<std::uint64_t>(5, 5 * i));
    file.close();
    std::vector<std::uint64_t> back(50);
    Hdf5File::open_readonly(folder / "a.h5").read<std::uint64_t>("/x", 0, back);
    EXPECT_EQ(back, counted<std::uint64_t>(50));
}

TEST(Hdf5File, TheSameCallsMakeTheSameBytes) {
    const TemporaryFolder folder;
    for (const char* name : {"a.h5", "b.h5"}) {
        Hdf5File file = Hdf5File::create(folder / name);
        file.set_attribute("kind", "stream");
        file.create_dataset("/group/x", Hdf5Type::kF64, {0}, {.fletcher32 = true, .extendible = true});
        file.append<double>("/group/x", counted<double>(1000));
        file.close();
    }
    EXPECT_EQ(read_file(folder / "a.h5"), read_file(folder / "b.h5"));
}

TEST(Hdf5File, AVirtualDatasetIsItsPiecesAndNaNBetweenThem) {
    const TemporaryFolder folder;
    for (int piece = 0; piece < 2; ++piece) {
        Hdf5File file = Hdf5File::create(folder / ("rank-" + std::to_string(piece) + ".h5"));
        file.create_dataset("/w", Hdf5Type::kF32, {6});
        file.write<float>("/w", 0, counted<float>(6, static_cast<float>(10 * piece)));
        file.close();
    }
    Hdf5File model = Hdf5File::create(folder / "model.h5");
    model.create_virtual("/parameters/w", Hdf5Type::kF32, {4, 4},
                         {{"rank-0.h5", "/w", {6}, {0, 0}, {3, 2}},  // the first two columns of three rows
                          {"rank-1.h5", "/w", {6}, {0, 2}, {3, 2}},
                          {"rank-9.h5", "/w", {2}, {3, 0}, {1, 2}}});
    model.close();
    std::vector<float> whole(16);
    Hdf5File::open_readonly(folder / "model.h5").read<float>("/parameters/w", 0, whole);
    const float none = std::nanf("");
    const std::vector<float> wanted{0, 1, 10, 11, 2, 3, 12, 13, 4, 5, 14, 15, none, none, none, none};
    for (std::size_t i = 0; i < 16; ++i) {
        if (std::isnan(wanted[i])) {
            EXPECT_TRUE(std::isnan(whole[i])) << i;
        } else {
            EXPECT_EQ(whole[i], wanted[i]) << i;
        }
    }
}

TEST(Hdf5File, ManyThreadsReadAndWriteTheirOwnFilesAtOnce) {
    const TemporaryFolder folder;
    std::vector<std::thread> threads;
    std::vector<int> good(4);
    for (std::size_t t = 0; t < good.size(); ++t)
        threads.emplace_back([&, t] {
            const std::string path = folder / (std::to_string(t) + ".h5");
            const auto values = counted<std::uint64_t>(10'000, t);
            Hdf5File file = Hdf5File::create(path);
            file.create_dataset("/x", Hdf5Type::kU64, {values.size()});
            for (std::size_t at = 0; at < values.size(); at += 100)
                file.write<std::uint64_t>("/x", at, std::span(values).subspan(at, 100));
            file.close();
            std::vector<std::uint64_t> back(values.size());
            Hdf5File::open_readonly(path).read<std::uint64_t>("/x", 0, back);
            good[t] = back == values;
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(good, std::vector<int>(4, 1));
}

TEST(Hdf5File, SaysWhatIsWrongWithAFile) {
    const TemporaryFolder folder;
    EXPECT_THROW(Hdf5File::open_readonly(folder / "none.h5"), MissingError);
    std::ofstream(folder / "text.h5") << "not HDF5 at all";
    EXPECT_NE(message_of<DataError>([&] { Hdf5File::open_readonly(folder / "text.h5"); }).find("text.h5"),
              std::string::npos);
    {
        Hdf5File file = Hdf5File::create(folder / "a.h5");
        file.create_dataset("/x", Hdf5Type::kU16, {1000}, {.fletcher32 = true});
        file.write<std::uint16_t>("/x", 0, counted<std::uint16_t>(1000, 0x4141));
        file.close();
    }
    std::string bytes = read_file(folder / "a.h5");
    {
        const Hdf5File file = Hdf5File::open_readonly(folder / "a.h5");
        std::vector<std::uint16_t> out(2);
        EXPECT_THROW(file.read<std::uint16_t>("/x", 999, out), DataError);
        EXPECT_THROW(file.read<std::uint16_t>("/y", 0, out), DataError);
        std::vector<float> floats(2);
        EXPECT_EQ(message_of<DataError>([&] { file.read<float>("/x", 0, floats); }),
                  folder / "a.h5, /x: found uint16, wanted float32");
        EXPECT_THROW(file.string_attribute("format"), DataError);
    }
    const std::string pattern("\x41\x41\x42\x41\x43\x41", 6);
    const std::size_t at = bytes.find(pattern);
    ASSERT_NE(at, std::string::npos);
    bytes[at + 100] = static_cast<char>(bytes[at + 100] ^ 4);
    std::ofstream(folder / "flipped.h5") << bytes;
    std::ofstream(folder / "short.h5") << bytes.substr(0, bytes.size() - 500);
    std::vector<std::uint16_t> out(1000);
    const Hdf5File flipped = Hdf5File::open_readonly(folder / "flipped.h5");
    const std::string message = message_of<DataError>([&] { flipped.read<std::uint16_t>("/x", 0, out); });
    EXPECT_NE(message.find("flipped.h5, /x: cannot read"), std::string::npos) << message;
    EXPECT_THROW(Hdf5File::open_readonly(folder / "short.h5"), DataError);
}

struct RefusingSystem : FileSystem {
    int left;
    explicit RefusingSystem(int writes) : left(writes) {}
    int before_library_write(const char*) override {
        if (left-- > 0) return 0;
        errno = ENOSPC;
        return -1;
    }
};

TEST(Hdf5File, AWriteThatTheSystemRefusesIsAnError) {
    const TemporaryFolder folder;
    const auto write_all = [&](FileSystem& system) {
        Hdf5File file = Hdf5File::create(folder / "a.h5", system);
        file.create_dataset("/x", Hdf5Type::kU16, {4});
        file.write<std::uint16_t>("/x", 0, counted<std::uint16_t>(4));
        file.close();
    };
    for (int allowed = 0; allowed < 4; ++allowed) {
        RefusingSystem system(allowed);
        const std::string message = message_of<IoError>([&] { write_all(system); });
        EXPECT_NE(message.find("No space left"), std::string::npos) << message;
    }
    RefusingSystem enough(4);
    write_all(enough);
}

/// A real refusal by the system, as on a full disk: files of this process may not grow beyond a limit.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        setrlimit(RLIMIT_FSIZE, &before_);
        signal(SIGXFSZ, handler_);
    }

  private:
    rlimit before_{};
    void (*handler_)(int);
};

TEST(Hdf5File, AFullDiskIsAnErrorAndTheNextFileOfThatNameIsGood) {
    const TemporaryFolder folder;
    const auto values = counted<float>(100'000);
    for (const bool fletcher32 : {false, true})
        for (const rlim_t limit : {100u, 3000u, 100'000u, 400'000u}) {
            const auto write_all = [&] {
                Hdf5File file = Hdf5File::create(folder / "a.h5");
                file.create_dataset("/x", Hdf5Type::kF32, {values.size()}, {.fletcher32 = fletcher32});
                file.write<float>("/x", 0, values);
                file.close();
            };
            {
                const FileSizeLimit full(limit);
                EXPECT_THROW(write_all(), IoError) << limit;
            }
            write_all();
            std::vector<float> back(values.size());
            Hdf5File::open_readonly(folder / "a.h5").read<float>("/x", 0, back);
            EXPECT_EQ(back, values);
        }
}

}  // namespace
}  // namespace skein
