// Prints the speed of skein's matrix product beside OpenBLAS's, in turns, for the shapes of the bench models.
// gemm_bench [FILTER] [SECONDS a case]
#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "model/kernels/gemm.h"

namespace {

using namespace skein;
using kernels::GemmArgs;

void blas(const GemmArgs& g) {
    cblas_sgemm(CblasRowMajor, g.transpose_a ? CblasTrans : CblasNoTrans,
                g.transpose_b ? CblasTrans : CblasNoTrans, static_cast<blasint>(g.m),
                static_cast<blasint>(g.n), static_cast<blasint>(g.k), 1.0f, g.a.f32(),
                static_cast<blasint>(g.lda), g.b.f32(), static_cast<blasint>(g.ldb),
                g.accumulate ? 1.0f : 0.0f, g.c.f32(), static_cast<blasint>(g.ldc));
}

/// One thread: the processor time of this thread, which leaves out what other processes take; else the
/// clock's.
double now(int threads) {
    timespec time{};
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
}

struct Case {
    std::string name;
    GemmArgs args;
};

/// y = x · wᵀ, dx = dy · w, dw += dyᵀ · x for x: [tokens, in], y: [tokens, out].
void add_linear(std::vector<Case>& cases, const std::string& model, std::int64_t tokens, std::int64_t in,
                std::int64_t out, bool gradients = true) {
    const std::string shape =
        model + " " + std::to_string(tokens) + "x" + std::to_string(in) + "->" + std::to_string(out);
    GemmArgs forward;
    forward.transpose_b = true;
    forward.m = tokens, forward.n = out, forward.k = in;
    forward.lda = in, forward.ldb = in, forward.ldc = out;
    cases.push_back({shape + " y", forward});
    if (!gradients) return;
    GemmArgs input;
    input.m = tokens, input.n = in, input.k = out;
    input.lda = out, input.ldb = in, input.ldc = in;
    cases.push_back({shape + " dx", input});
    GemmArgs weight;
    weight.transpose_a = true;
    weight.m = out, weight.n = in, weight.k = tokens;
    weight.lda = out, weight.ldb = in, weight.ldc = in;
    weight.accumulate = true;
    cases.push_back({shape + " dw+", weight});
    weight.accumulate = false;
    cases.push_back({shape + " dw", weight});
}

}  // namespace

int main(int argc, char** argv) {
    const char* filter = argc > 1 ? argv[1] : "";
    const double budget = argc > 2 ? std::atof(argv[2]) : 0.5;
    const int most = argc > 3 ? std::atoi(argv[3]) : 2;
    std::vector<Case> cases;
    for (auto [in, out] : {std::pair{128, 384}, {128, 128}, {128, 512}, {512, 128}, {128, 65}})
        add_linear(cases, "nano", 768, in, out);
    for (auto [in, out] : {std::pair{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}, {384, 65}})
        add_linear(cases, "mini", 4096, in, out);
    for (auto [in, out] : {std::pair{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}})
        add_linear(cases, "124m", 1024, in, out);
    for (auto tokens : {256, 512, 1024}) add_linear(cases, "124m", tokens, 768, 50304);
    for (auto [in, out] : {std::pair{512, 1536}, {512, 512}, {512, 2048}, {2048, 512}, {512, 32000}})
        add_linear(cases, "base", 1024, in, out);
    for (auto tokens : {1, 2, 4, 8, 12, 16}) {
        add_linear(cases, "few", tokens, 384, 1536, false);
        add_linear(cases, "few", tokens, 768, 3072, false);
        add_linear(cases, "few", tokens, 768, 50304, false);
    }

    std::printf("%-34s %27s %27s\n%-34s %8s %8s %9s %8s %8s %9s\n", "GFLOP/s, median", "1 thread",
                "2 threads", "", "skein", "OpenBLAS", "ratio", "skein", "OpenBLAS", "ratio");
    for (Case& one : cases) {
        if (one.name.find(filter) == std::string::npos) continue;
        GemmArgs& g = one.args;
        Pool pool;
        const auto filled = [&](std::int64_t count) {
            BlockRef block = pool.allocate(static_cast<std::size_t>(count) * sizeof(float));
            float* values = reinterpret_cast<float*>(block.get()->data);
            for (std::int64_t i = 0; i < count; ++i) {
                values[i] =
                    static_cast<float>(static_cast<std::uint64_t>(i) * 2654435761u % 1024) / 512.0f - 1.0f;
            }
            return block;
        };
        const BlockRef blocks[3] = {filled(g.m * g.k), filled(g.k * g.n), filled(g.m * g.n)};
        g.a = reinterpret_cast<const float*>(blocks[0].get()->data);
        g.b = reinterpret_cast<const float*>(blocks[1].get()->data);
        g.c = reinterpret_cast<float*>(blocks[2].get()->data);
        const double flops =
            2e-9 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
        double speed[2][2] = {};
        for (int threads = 1; threads <= most; ++threads) {
            Stream stream(threads);
            openblas_set_num_threads(threads);
            const auto ours = [&] { stream.run([&](auto& s) { kernels::gemm(s, g); }); };
            const auto theirs = [&] { blas(g); };
            ours(), theirs();
            const int repeat = std::max(1, static_cast<int>(0.002 / (flops / 100)));
            std::vector<double> times[2];
            double spent = 0;
            while (spent < budget || times[0].size() < 5) {
                for (int who : {0, 1}) {
                    // Either's idle threads spin for some time after a call and would be in the other's way.
                    if (threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(10));
                    const auto call = [&] { who == 0 ? ours() : theirs(); };
                    call();
                    const double start = now(threads);
                    for (int i = 0; i < repeat; ++i) call();
                    times[who].push_back(now(threads) - start);
                    spent += times[who].back();
                }
            }
            for (int who : {0, 1}) speed[threads - 1][who] = flops * repeat / median(times[who]);
        }
        std::printf("%-34s %8.1f %8.1f %9.2f %8.1f %8.1f %9.2f\n", one.name.c_str(), speed[0][0], speed[0][1],
                    speed[0][0] / speed[0][1], speed[1][0], speed[1][1], speed[1][0] / speed[1][1]);
        std::fflush(stdout);
    }
}
