#include <gtest/gtest.h>

#include <cstring>
#include <mutex>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/inspect.h"
#include "checkpoint/state_hash.h"
#include "data/hdf5_file.h"
#include "model/base/error.h"
#include "model/base/hash.h"
#include "tests/checkpoint/example_state.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"

namespace skein {
namespace {

const std::vector<ExampleGrid> kGrids{
    {1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2, true}, {1, 3, true}, {2, 1, false, true}, {3, 2, true, true}};

void save_on(const std::string& folder, ExampleGrid grid, std::uint64_t step, bool large = false) {
    on_ranks(grid.size(), [&](Communicator& world) {
        const ExampleState example(step, grid, world.rank(), large);
        CheckpointStore store(folder, 2, nullptr);
        const SaveOutcome outcome = store.save(world, example.state);
        EXPECT_TRUE(outcome) << outcome.message;
        EXPECT_EQ(outcome.folder, folder + "/" + checkpoint_name(step));
    });
}

void expect_loads_on(const std::string& folder, ExampleGrid grid, std::uint64_t step, bool large = false) {
    on_ranks(grid.size(), [&](Communicator& world) {
        const ExampleState wanted(step, grid, world.rank(), large);
        ExampleState found(step, grid, world.rank(), large);
        found.clear();
        const auto checkpoint = newest_checkpoint(world, folder, nullptr);
        ASSERT_TRUE(checkpoint);
        checkpoint->load(world, found.state.tensors);
        for (std::size_t i = 0; i < wanted.memory().size(); ++i)
            EXPECT_EQ(found.memory()[i], wanted.memory()[i]) << wanted.state.tensors[i].name;
    });
}

TEST(RoundTrip, LoadsUnderEveryLayoutWhatWasSavedUnderAnyOther) {
    std::string parameters, state;
    for (const ExampleGrid from : kGrids) {
        const TemporaryFolder folder;
        save_on(folder / "checkpoints", from, 5);
        for (const ExampleGrid to : kGrids) expect_loads_on(folder / "checkpoints", to, 5);
        const CheckpointInspection found = inspect_checkpoint(folder / "checkpoints/step-00000005");
        EXPECT_TRUE(found.faults.empty());
        if (parameters.empty()) parameters = found.parameters_hash, state = found.state_hash;
        EXPECT_EQ(found.parameters_hash, parameters);
        EXPECT_EQ(found.state_hash, state);
    }
    EXPECT_EQ(parameters.size(), 16u);
    EXPECT_NE(parameters, state);
}

TEST(RoundTrip, LoadsTensorsThatWereCutByRows) {
    for (const ExampleGrid from : {ExampleGrid{3, 1}, ExampleGrid{2, 2, true}}) {
        const TemporaryFolder folder;
        save_on(folder / "checkpoints", from, 5, true);
        const Manifest manifest = read_manifest(folder / "checkpoints/step-00000005");
        for (const TensorRecord& tensor : manifest.tensors)
            if (tensor.name == "large") {
                EXPECT_GT(tensor.pieces.size(), 1u);
            }
        for (const ExampleGrid to : {ExampleGrid{1, 1}, ExampleGrid{1, 3}, ExampleGrid{1, 2, true}})
            expect_loads_on(folder / "checkpoints", to, 5, true);
    }
}

TEST(RoundTrip, KeepsTheRunAndTheTokenizer) {
    const TemporaryFolder folder;
    save_on(folder / "checkpoints", {2, 1}, 5);
    SoloCommunicator alone;
    const Checkpoint found = find_checkpoint(alone, folder.path(), nullptr);
    EXPECT_EQ(found.manifest().run, ExampleState(5, {2, 1}).state.run);
    ASSERT_EQ(found.manifest().tokenizer, std::vector<std::string>{"tokenizer.json"});
    EXPECT_EQ(read_file(found.folder() + "/tokenizer.json"), "{\"kind\": \"bytes\"}\n");
}

TEST(RoundTrip, HasEveryParameterWholeInTheModelFile) {
    const TemporaryFolder folder;
    save_on(folder / "checkpoints", {2, 3, true}, 5);
    const ExampleState whole(5);
    const Hdf5File model = Hdf5File::open_readonly(folder / "checkpoints/step-00000005/model.h5");
    std::size_t parameters = 0;
    for (std::size_t i = 0; i < whole.memory().size(); ++i) {
        const std::string& name = whole.state.tensors[i].name;
        if (!name.starts_with("parameters/")) continue;
        ++parameters;
        std::vector<std::byte> bytes(whole.memory()[i].size());
        model.read_bytes(name.substr(10), 0, bytes);
        EXPECT_EQ(bytes, whole.memory()[i]) << name;
    }
    EXPECT_EQ(model.list().size(), parameters);
}

TEST(RoundTrip, LoadsParametersAlone) {
    const TemporaryFolder folder;
    save_on(folder / "checkpoints", {2, 1}, 5);
    const ExampleState wanted(5);
    ExampleState found(5);
    found.clear();
    std::vector<StateTensor> parameters;
    for (const StateTensor& tensor : found.state.tensors)
        if (tensor.name.starts_with(kParametersPrefix)) parameters.push_back(tensor);
    SoloCommunicator alone;
    find_checkpoint(alone, folder / "checkpoints", nullptr).load(alone, parameters, kParametersPrefix);
    for (std::size_t i = 0; i < parameters.size(); ++i) EXPECT_EQ(found.memory()[i], wanted.memory()[i]);
}

std::string load_error(const Checkpoint& checkpoint, const std::vector<StateTensor>& tensors) {
    SoloCommunicator alone;
    try {
        checkpoint.load(alone, tensors);
    } catch (const CheckpointError& error) {
        return error.what();
    }
    return "";
}

TEST(RoundTrip, RefusesAnotherModel) {
    const TemporaryFolder folder;
    save_on(folder / "checkpoints", {}, 5);
    SoloCommunicator alone;
    const Checkpoint checkpoint = find_checkpoint(alone, folder.path(), nullptr);
    ExampleState example(5);
    const std::vector<StateTensor> right = example.state.tensors;
    EXPECT_EQ(load_error(checkpoint, right), "");

    std::vector<StateTensor> other = right;
    other[0].global_shape = {24, 37};
    EXPECT_NE(load_error(checkpoint, other)
                  .find("parameters/embedding.weight: found f32 [37, 24], wanted f32 [24, 37]"),
              std::string::npos);
    other = right;
    other[0].dtype = DType::i32;
    EXPECT_NE(load_error(checkpoint, other).find("found f32 [37, 24], wanted i32 [37, 24]"),
              std::string::npos);
    other = right;
    other[0].name = "parameters/embedding.other";
    EXPECT_NE(load_error(checkpoint, other).find("found parameters/embedding.weight"), std::string::npos);
    other = right;
    other.pop_back();
    EXPECT_NE(load_error(checkpoint, other).find("found empty i64 [0, 4], which this model does not have"),
              std::string::npos);
    other = right;
    other.push_back(right.back());
    other.back().name = "more";
    EXPECT_NE(load_error(checkpoint, other).find("has no more, wanted i64 [0, 4]"), std::string::npos);
}

TEST(RoundTrip, AllRanksRefuseTensorsThatDoNotFitTogether) {
    const TemporaryFolder folder;
    std::mutex mutex;
    std::vector<std::string> said;
    on_ranks(3, [&](Communicator& world) {
        ExampleState example(5);
        if (world.rank() == 1) example.state.tensors[2].name = "another";
        CheckpointStore store(folder / "checkpoints", 1, nullptr);
        try {
            store.save(world, example.state);
        } catch (const CheckpointError& error) {
            const std::lock_guard guard(mutex);
            said.push_back(error.what());
        }
    });
    EXPECT_EQ(said, std::vector<std::string>(3, "save: rank 1 lists other tensors than rank 0"));
    EXPECT_FALSE(std::filesystem::exists(folder / "checkpoints"));
}

TEST(StateHash, IsTheHashOfItsDocumentedText) {
    RunState run;
    run.updates = 7;
    run.place = {1, 2, 3};
    run.loss_scale = {1024.0, 4, 1};
    const std::vector<TensorDigest> tensors{{"parameters/b", DType::f32, {2, 3}, "00000000000000bb"},
                                            {"parameters/a", DType::bf16, {}, "00000000000000aa"},
                                            {"moment1/a", DType::f32, {4}, "00000000000000cc"}};
    EXPECT_EQ(parameters_hash(tensors),
              hash_hex("a\tbf16\t\t00000000000000aa\nb\tf32\t2,3\t00000000000000bb\n"));
    EXPECT_EQ(
        state_hash(tensors, run),
        hash_hex(
            "moment1/a\tf32\t4\t00000000000000cc\nupdates\t7\nplace\t1\t2\t3\nloss_scale\t0x1p+10\t4\t1\n"));
    RunState same = run;
    same.best = BestMetric{1.0, 2};
    same.patience = 3;
    same.restarts = 4;
    same.seconds = 5.0;
    EXPECT_EQ(state_hash(tensors, same), state_hash(tensors, run));
    same.place.samples = 4;
    EXPECT_NE(state_hash(tensors, same), state_hash(tensors, run));
}

}  // namespace
}  // namespace skein
