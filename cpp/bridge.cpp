// The only file that includes the vendor's header. Compiled as C++17 against the header of the library that is linked.
//
// What differs between releases is found by asking whether a member exists, not by version numbers: a release is what its
// header declares. Of Request's constructor only the first parameters, which no release has changed, are given.
#include "bridge.h"

#include "tacho-tensorrt-llm/src/bridge.rs.h"

#include "tensorrt_llm/executor/executor.h"

#include <chrono>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

// plugins/api/tllmPlugin.h declares it too, but drags TensorRT's headers along. A null logger is its documented default.
extern "C" bool initTrtLlmPlugins(void* logger, char const* libNamespace);

namespace tle = tensorrt_llm::executor;

namespace tacho::trtllm
{

struct Handle::Impl
{
    tle::Executor executor;

    Impl(std::filesystem::path const& folder, tle::ExecutorConfig const& config)
        : executor(folder, tle::ModelType::kDECODER_ONLY, config)
    {
    }
};

namespace
{

// Stands for no client id.
constexpr std::uint64_t NO_CLIENT = ~std::uint64_t{0};

// ---- errors ----

bool holds(std::string_view text, std::string_view part)
{
    return text.find(part) != std::string_view::npos;
}

Fault classify(std::string_view what)
{
    if (holds(what, "Maximum queue size"))
    {
        return Fault::QueueFull;
    }
    if (holds(what, "Shutdown called"))
    {
        return Fault::Shutdown;
    }
    if (holds(what, "out of memory") || holds(what, "OutOfMemory") || holds(what, "cudaErrorMemoryAllocation"))
    {
        return Fault::OutOfMemory;
    }
    if (holds(what, "MPI"))
    {
        return Fault::Mpi;
    }
    return Fault::Engine;
}

// Nothing may leave this file by an exception: Rust's frames below could not be unwound.
template <typename Call>
Status guarded(Call&& call) noexcept
{
    try
    {
        std::forward<Call>(call)();
        return Status{Fault::None, rust::String()};
    }
    catch (std::bad_alloc const&)
    {
        return Status{Fault::OutOfMemory, rust::String("the host's memory ran out")};
    }
    catch (std::exception const& error)
    {
        return Status{classify(error.what()), rust::String::lossy(error.what())};
    }
    catch (...)
    {
        return Status{Fault::Foreign, rust::String("something that is no std::exception was thrown")};
    }
}

// ---- what releases differ in ----

template <typename T, typename = void>
struct HasReturnPerfMetrics : std::false_type
{
};

template <typename T>
struct HasReturnPerfMetrics<T, std::void_t<decltype(std::declval<T&>().returnPerfMetrics)>> : std::true_type
{
};

template <typename T, typename = void>
struct HasRequestPerfMetrics : std::false_type
{
};

template <typename T>
struct HasRequestPerfMetrics<T, std::void_t<decltype(std::declval<T&>().requestPerfMetrics)>> : std::true_type
{
};

template <typename T, typename = void>
struct HasSetSeed : std::false_type
{
};

template <typename T>
struct HasSetSeed<T, std::void_t<decltype(std::declval<T&>().setSeed(std::optional<tle::RandomSeedType>()))>>
    : std::true_type
{
};

template <typename T, typename = void>
struct HasMissedBlocks : std::false_type
{
};

template <typename T>
struct HasMissedBlocks<T, std::void_t<decltype(std::declval<T&>().missedBlocks)>> : std::true_type
{
};

template <typename T>
void setSeed(T& sampling, std::uint64_t seed)
{
    if constexpr (HasSetSeed<T>::value)
    {
        sampling.setSeed(std::optional<tle::RandomSeedType>(seed));
    }
    else
    {
        sampling.setRandomSeed(std::optional<tle::RandomSeedType>(seed));
    }
}

template <typename T>
void askForTimes(T& output)
{
    if constexpr (HasReturnPerfMetrics<T>::value)
    {
        output.returnPerfMetrics = true;
    }
}

template <typename Time>
std::uint64_t nanoseconds(Time time)
{
    // libstdc++'s steady_clock is CLOCK_MONOTONIC: Tacho's own clock.
    auto const since = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
    return since > 0 ? static_cast<std::uint64_t>(since) : 0;
}

template <typename T>
void readTimes([[maybe_unused]] T const& result, [[maybe_unused]] ResponseRow& row)
{
    if constexpr (HasRequestPerfMetrics<T>::value)
    {
        if (result.requestPerfMetrics.has_value())
        {
            auto const& metrics = *result.requestPerfMetrics;
            row.has_times = true;
            row.arrival_ns = nanoseconds(metrics.timingMetrics.arrivalTime);
            row.first_scheduled_ns = nanoseconds(metrics.timingMetrics.firstScheduledTime);
            row.first_token_ns = nanoseconds(metrics.timingMetrics.firstTokenTime);
            row.last_token_ns = nanoseconds(metrics.timingMetrics.lastTokenTime);
            row.reused_blocks = metrics.kvCacheMetrics.numReusedBlocks;
        }
    }
}

template <typename T>
std::int32_t missedBlocks([[maybe_unused]] T const& stats)
{
    if constexpr (HasMissedBlocks<T>::value)
    {
        return stats.missedBlocks;
    }
    else
    {
        return -1;
    }
}

// ---- requests in ----

template <typename T>
std::optional<T> positive(T value)
{
    return value > 0 ? std::optional<T>(value) : std::nullopt;
}

std::vector<tle::SizeType32> list(rust::Vec<std::int32_t> const& values)
{
    return {values.begin(), values.end()};
}

tle::SamplingConfig sampling(NewRequest const& request)
{
    tle::SamplingConfig config(1);
    if (request.greedy)
    {
        config.setTopK(1);
        return config;
    }
    config.setTemperature(request.temperature);
    config.setTopK(request.top_k);
    config.setTopP(request.top_p);
    setSeed(config, request.seed);
    return config;
}

tle::Request makeRequest(tle::VecTokens prompt, NewRequest const& request)
{
    tle::OutputConfig output;
    output.excludeInputFromOutput = true;
    askForTimes(output);
    // No end id: the request runs to its length, whatever tokens come.
    tle::Request made(std::move(prompt), request.max_tokens, request.streaming, sampling(request), output);
    made.setClientId(request.client_id);
    return made;
}

tle::ExecutorConfig makeConfig(ExecutorOptions const& options)
{
    tle::KvCacheConfig cache(options.enable_block_reuse);
    if (options.kv_max_tokens > 0)
    {
        cache.setMaxTokens(options.kv_max_tokens);
    }
    if (options.kv_free_gpu_memory_fraction > 0)
    {
        cache.setFreeGpuMemoryFraction(options.kv_free_gpu_memory_fraction);
    }
    tle::ExecutorConfig config(1);
    config.setSchedulerConfig(tle::SchedulerConfig(static_cast<tle::CapacitySchedulerPolicy>(options.policy)));
    config.setKvCacheConfig(cache);
    config.setEnableChunkedContext(options.enable_chunked_context);
    config.setIterStatsMaxIterations(options.iter_stats_max);
    config.setRequestStatsMaxIterations(0);
    config.setBatchingType(tle::BatchingType::kINFLIGHT);
    config.setMaxBatchSize(options.max_batch_size);
    if (options.max_num_tokens > 0)
    {
        config.setMaxNumTokens(options.max_num_tokens);
    }
    if (options.max_queue_size > 0)
    {
        config.setMaxQueueSize(positive(options.max_queue_size));
    }
    tle::ExtendedRuntimePerfKnobConfig knobs(options.multi_block_mode);
    knobs.setCudaGraphMode(options.cuda_graph_mode);
    config.setExtendedRuntimePerfKnobConfig(knobs);
    // One process a rank; rank 0 leads. The engine's own mapping says how many ranks there must be.
    tle::ParallelConfig parallel(tle::CommunicationType::kMPI, tle::CommunicationMode::kLEADER);
    if (!options.device_ids.empty())
    {
        parallel.setDeviceIds(list(options.device_ids));
    }
    config.setParallelConfig(parallel);
    return config;
}

// ---- responses out ----

void append(tle::Response const& response, rust::Vec<std::int32_t>& tokens, rust::Vec<ResponseRow>& rows,
    rust::Vec<rust::String>& errors)
{
    ResponseRow row{};
    row.engine_id = response.getRequestId();
    row.client_id = response.getClientId().value_or(NO_CLIENT);
    // First: a response with an error has no result to ask for.
    if (response.hasError())
    {
        row.is_final = true;
        row.is_error = true;
        errors.push_back(rust::String::lossy(response.getErrorMsg()));
    }
    else
    {
        auto const& result = response.getResult();
        // A cancelled request may answer with no beam at all.
        if (result.outputTokenIds.size() > 1)
        {
            throw std::runtime_error("a response holds several beams, and beam width 1 was asked for");
        }
        for (auto const& beam : result.outputTokenIds)
        {
            for (auto const token : beam)
            {
                tokens.push_back(token);
            }
        }
        row.is_final = result.isFinal;
        row.finish = result.finishReasons.empty() ? 0 : static_cast<std::uint8_t>(result.finishReasons.front());
        readTimes(result, row);
    }
    row.tokens_end = tokens.size();
    rows.push_back(row);
}

IterationRow iteration(tle::IterationStats const& stats)
{
    IterationRow row{};
    row.iteration = stats.iter;
    row.latency_ms = stats.iterLatencyMS;
    row.active = stats.numActiveRequests;
    row.queued = stats.numQueuedRequests;
    row.gpu_bytes = stats.gpuMemUsage;
    row.kv_used_blocks = -1;
    if (stats.inflightBatchingStats.has_value())
    {
        auto const& batch = *stats.inflightBatchingStats;
        row.scheduled = batch.numScheduledRequests;
        row.context_requests = batch.numContextRequests;
        row.generation_requests = batch.numGenRequests;
        row.paused = batch.numPausedRequests;
        row.context_tokens = batch.numCtxTokens;
    }
    if (stats.kvCacheStats.has_value())
    {
        auto const& cache = *stats.kvCacheStats;
        row.kv_used_blocks = cache.usedNumBlocks;
        row.kv_max_blocks = cache.maxNumBlocks;
        row.kv_block_tokens = cache.tokensPerBlock;
        row.kv_reused_blocks = cache.reusedBlocks;
        row.kv_missed_blocks = missedBlocks(cache);
    }
    return row;
}

} // namespace

Handle::Handle(std::unique_ptr<Impl> impl) noexcept
    : mImpl(std::move(impl))
{
}

Handle::~Handle() = default;

Status Handle::enqueue(rust::Slice<std::uint32_t const> prompts, rust::Slice<NewRequest const> requests,
    rust::Vec<std::uint64_t>& engine_ids) const noexcept
{
    return guarded(
        [&]
        {
            std::vector<tle::Request> batch;
            batch.reserve(requests.size());
            auto const* at = prompts.data();
            auto const* const end = at + prompts.size();
            for (auto const& request : requests)
            {
                if (static_cast<std::size_t>(end - at) < request.prompt_len)
                {
                    throw std::invalid_argument("the prompts hold fewer ids than the requests count");
                }
                batch.push_back(makeRequest(tle::VecTokens(at, at + request.prompt_len), request));
                at += request.prompt_len;
            }
            for (auto const id : mImpl->executor.enqueueRequests(batch))
            {
                engine_ids.push_back(id);
            }
        });
}

Status Handle::await_responses(std::int64_t timeout_ms, rust::Vec<std::int32_t>& tokens, rust::Vec<ResponseRow>& rows,
    rust::Vec<rust::String>& errors) const noexcept
{
    return guarded(
        [&]
        {
            std::optional<std::chrono::milliseconds> const timeout{std::chrono::milliseconds(timeout_ms)};
            for (auto const& response : mImpl->executor.awaitResponses(timeout))
            {
                append(response, tokens, rows, errors);
            }
        });
}

Status Handle::iterations(rust::Vec<IterationRow>& rows) const noexcept
{
    return guarded(
        [&]
        {
            for (auto const& stats : mImpl->executor.getLatestIterationStats())
            {
                rows.push_back(iteration(stats));
            }
        });
}

Status Handle::cancel(std::uint64_t engine_id) const noexcept
{
    return guarded([&] { mImpl->executor.cancelRequest(engine_id); });
}

Status Handle::can_enqueue(bool& answer) const noexcept
{
    return guarded([&] { answer = mImpl->executor.canEnqueueRequests(); });
}

Status Handle::shutdown() const noexcept
{
    return guarded([&] { mImpl->executor.shutdown(); });
}

Status init_plugins() noexcept
{
    return guarded(
        []
        {
            if (!initTrtLlmPlugins(nullptr, "tensorrt_llm"))
            {
                throw std::runtime_error("initTrtLlmPlugins said no");
            }
        });
}

std::unique_ptr<Handle> create(ExecutorOptions const& options, Status& status) noexcept
{
    std::unique_ptr<Handle> made;
    status = guarded(
        [&]
        {
            std::filesystem::path const folder{std::string(options.engine_dir)};
            made = std::make_unique<Handle>(std::make_unique<Handle::Impl>(folder, makeConfig(options)));
        });
    return made;
}

rust::String version() noexcept
{
    return rust::String::lossy(tle::version());
}

} // namespace tacho::trtllm
