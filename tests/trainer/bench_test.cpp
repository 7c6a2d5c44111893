#include "trainer/bench.h"

#include "parallel/mpi_communicator.h"
#include "parallel/mpi_session.h"

namespace skein {
namespace {

// A feed-forward width and a vocabulary that no number of ranks divides.
BenchShape small_shape(ModelKind kind) {
    BenchShape shape;
    shape.name = "small";
    shape.model.kind = kind;
    shape.model.layers = 2;
    shape.model.encoder_layers = 1;
    shape.model.heads = 4;
    shape.model.width = 32;
    shape.model.feed_forward = 100;
    shape.model.context = 9;
    shape.model.vocabulary = 67;
    if (kind == ModelKind::kEncoderDecoder) shape.model.position = PositionKind::kSinusoidal;
    shape.batch = 8;
    return shape;
}

TEST(Bench, BytesSentAreThoseOfTheFormula) {
    const MpiSession session;
    MpiCommunicator world(session);
    for (int tensor = 1; tensor <= session.size(); tensor *= 2) {
        const auto data_ranks = world.split(session.rank() % tensor, session.rank()),
                   tensor_ranks = world.split(session.rank() / tensor, session.rank());
        const RankGroups groups{world, *data_ranks, *tensor_ranks};
        for (const ModelKind kind : {ModelKind::kDecoder, ModelKind::kEncoderDecoder})
            for (const bool sequence : {false, true})
                for (const Precision precision : {Precision::kFp32, Precision::kBf16})
                    for (const int key_value_heads : {4, 1}) {
                        SCOPED_TRACE(::testing::Message()
                                     << "tensor " << tensor << ", kind " << static_cast<int>(kind)
                                     << ", sequence " << sequence << ", precision "
                                     << static_cast<int>(precision) << ", heads " << key_value_heads);
                        BenchShape shape = small_shape(kind);
                        shape.model.key_value_heads = key_value_heads;
                        BenchOptions options;
                        options.steps = options.warmup = 1;
                        options.sequence = sequence;
                        options.precision = precision;
                        options.variants = {{.lanes = 4}, {.lanes = 4, .zero = 1}};
                        for (const BenchResult& result : run_bench(shape, options, groups)) {
                            EXPECT_EQ(result.sent.data, result.formula.data);
                            EXPECT_EQ(result.sent.tensor, result.formula.tensor);
                            EXPECT_EQ(result.sent.data > 0, data_ranks->size() > 1);
                            EXPECT_EQ(result.sent.tensor > 0, tensor > 1);
                        }
                    }
    }
}

}  // namespace
}  // namespace skein
