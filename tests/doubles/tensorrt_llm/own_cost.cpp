// tensorrt-llm DOUBLE (not TensorRT-LLM): what the double itself needs for a response, without the bridge. The argument is
// a folder of its engines that takes 100,000 requests in one step (scripts/trtllm-cost.sh writes it).
#include "tensorrt_llm/executor/executor.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

namespace tle = tensorrt_llm::executor;

int main(int, char** argv)
{
    constexpr std::size_t kRequests = 100'000;
    using Clock = std::chrono::steady_clock;
    tle::ExecutorConfig config(1);
    config.setMaxBatchSize(kRequests);
    tle::Executor executor(argv[1], tle::ModelType::kDECODER_ONLY, config);
    double best = 1e9;
    double bestIn = 1e9;
    for (int repeat = 0; repeat < 5; ++repeat)
    {
        tle::SamplingConfig sampling(1);
        sampling.setTopK(1);
        tle::OutputConfig output;
        output.excludeInputFromOutput = true;
        output.returnPerfMetrics = true;
        auto start = Clock::now();
        {
            std::vector<tle::Request> requests;
            requests.reserve(kRequests);
            for (std::size_t index = 0; index < kRequests; ++index)
            {
                requests.emplace_back(tle::VecTokens{7, 7, 7, 7}, 1, true, sampling, output);
                requests.back().setClientId(index);
            }
            if (executor.enqueueRequests(requests).size() != kRequests)
            {
                return 1;
            }
        }
        bestIn = std::min(bestIn, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
        std::this_thread::sleep_for(std::chrono::seconds(1));
        start = Clock::now();
        {
            auto const responses = executor.awaitResponses(std::chrono::milliseconds(1000));
            if (responses.size() != kRequests)
            {
                return 1;
            }
        }
        best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
    }
    std::printf("the double alone, best of 5: %.0f ns a response, %.0f ns a request handed over\n", best / kRequests,
        bestIn / kRequests);
    executor.shutdown();
    return 0;
}
