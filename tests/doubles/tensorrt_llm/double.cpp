// tensorrt-llm DOUBLE (not TensorRT-LLM): an executor with in-flight batching whose tokens are hashes and whose time is a
// cost model. Written from the documented behaviour of the real one (README.md lists it); it holds none of its code.
#include "engine_file.h"
#include "tensorrt_llm/executor/executor.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <unordered_set>

extern "C" bool initTrtLlmPlugins(void*, char const*)
{
    return true;
}

namespace tensorrt_llm::executor
{

namespace
{

using Clock = std::chrono::steady_clock;

// The ids below stand for a real vocabulary's control tokens.
constexpr std::uint64_t kFirstId = 4;

std::uint64_t mix(std::uint64_t state, std::uint64_t with)
{
    state = (state ^ with) * 0x9E3779B97F4A7C15ULL;
    return state ^ (state >> 29);
}

[[noreturn]] void fail(std::string const& what)
{
    throw std::runtime_error("[TensorRT-LLM][ERROR] " + what);
}

} // namespace

// ---- Request, Response ----

class Request::Impl
{
public:
    VecTokens prompt;
    SizeType32 maxTokens;
    bool streaming;
    SamplingConfig sampling;
    OutputConfig output;
    std::optional<SizeType32> endId;
    std::optional<IdType> clientId;
};

Request::Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool streaming, SamplingConfig const& samplingConfig,
    OutputConfig const& outputConfig, std::optional<SizeType32> const& endId, std::optional<SizeType32> const&,
    std::optional<std::vector<SizeType32>>, std::optional<std::list<VecTokens>>, std::optional<std::list<VecTokens>>,
    std::optional<Tensor>, std::optional<ExternalDraftTokensConfig>, std::optional<PromptTuningConfig>,
    std::optional<MultimodalInput>, std::optional<Tensor>, std::optional<MropeConfig>, std::optional<LoraConfig>,
    std::optional<LookaheadDecodingConfig>, std::optional<KvCacheRetentionConfig>, std::optional<std::string>,
    std::optional<LogitsPostProcessor>, std::optional<VecTokens>, std::optional<IdType> clientId, bool, PriorityType,
    RequestType, std::optional<ContextPhaseParams>, std::optional<Tensor>, std::optional<SizeType32>,
    std::optional<Tensor>, SizeType32, std::optional<EagleConfig>, std::optional<Tensor>,
    std::optional<GuidedDecodingParams>, std::optional<SizeType32>, std::optional<MillisecondsType>,
    std::optional<CacheSaltIDType>)
    : mImpl(std::make_unique<Impl>(
        Impl{std::move(inputTokenIds), maxTokens, streaming, samplingConfig, outputConfig, endId, clientId}))
{
    // As the real one does, before anything is queued.
    if (mImpl->prompt.empty())
    {
        fail("Assertion failed: !mInputTokenIds.empty()");
    }
    if (maxTokens <= 0)
    {
        fail("Assertion failed: mMaxNewTokens > 0");
    }
}

Request::Request(Request const& other)
    : mImpl(std::make_unique<Impl>(*other.mImpl))
{
}

Request::Request(Request&& other) noexcept = default;
Request::~Request() = default;

void Request::setClientId(IdType clientId)
{
    mImpl->clientId = clientId;
}

class Response::Impl
{
public:
    IdType id;
    std::optional<IdType> clientId;
    std::optional<std::string> error;
    Result result;
};

Response::Response(IdType requestId, std::string errorMsg, std::optional<IdType> clientId)
    : mImpl(std::make_unique<Impl>(Impl{requestId, clientId, std::move(errorMsg), {}}))
{
}

Response::Response(IdType requestId, Result result, std::optional<IdType> clientId)
    : mImpl(std::make_unique<Impl>(Impl{requestId, clientId, std::nullopt, std::move(result)}))
{
}

Response::~Response() = default;
Response::Response(Response&&) noexcept = default;

Response::Response(Response const& other)
    : mImpl(std::make_unique<Impl>(*other.mImpl))
{
}

IdType Response::getRequestId() const
{
    return mImpl->id;
}

std::optional<IdType> Response::getClientId() const
{
    return mImpl->clientId;
}

bool Response::hasError() const
{
    return mImpl->error.has_value();
}

std::string const& Response::getErrorMsg() const
{
    if (!mImpl->error)
    {
        fail("Assertion failed: Cannot get error message when there is no error");
    }
    return *mImpl->error;
}

Result const& Response::getResult() const
{
    if (mImpl->error)
    {
        fail("Assertion failed: Cannot get result when there is an error: " + *mImpl->error);
    }
    return mImpl->result;
}

// ---- Executor ----

class Executor::Impl
{
public:
    Impl(std::filesystem::path const& folder, ExecutorConfig const& config)
        : mFile(tensorrt_llm_double::EngineFile::read(folder))
        , mConfig(config)
    {
        if (config.mBatching == BatchingType::kSTATIC)
        {
            fail("Static batching type is deprecated. Please use in-flight batching with "
                 "CapacitySchedulerPolicy::kSTATIC_BATCH instead.");
        }
        mMaxBatch = std::min(config.mMaxBatchSize.value_or(mFile.maxBatchSize), mFile.maxBatchSize);
        mMaxTokens = std::min(config.mMaxNumTokens.value_or(mFile.maxNumTokens), mFile.maxNumTokens);
        mBlocks = mFile.kvBlocks;
        if (config.mKvCache.mMaxTokens)
        {
            mBlocks = std::min(mBlocks, blocks(*config.mKvCache.mMaxTokens));
        }
        mThread = std::thread([this] { loop(); });
    }

    ~Impl()
    {
        shutdown();
    }

    std::vector<IdType> enqueue(std::vector<Request> const& requests)
    {
        std::vector<IdType> ids;
        {
            std::scoped_lock const lock(mMutex);
            if (mShutdown)
            {
                fail("Shutdown called, cannot enqueue requests");
            }
            auto const most = mConfig.mMaxQueueSize.value_or(0);
            // All of a batch or nothing of it; what counts is how many wait already.
            if (most > 0 && mQueued.size() >= static_cast<std::size_t>(most))
            {
                fail("Maximum queue size of " + std::to_string(most) + " has been reached, please try again later");
            }
            auto const now = Clock::now();
            ids.reserve(requests.size());
            for (auto const& request : requests)
            {
                ids.push_back(++mLastId);
                mQueued.push_back(begin(request, mLastId, now));
            }
        }
        mWork.notify_one();
        return ids;
    }

    std::vector<Response> await(std::optional<std::chrono::milliseconds> const& timeout)
    {
        std::unique_lock lock(mMutex);
        alive();
        if (mFile.fault == "throw_foreign")
        {
            throw 42; // NOLINT: what the bridge must survive
        }
        if (mFile.fault == "throw_memory")
        {
            throw std::bad_alloc();
        }
        auto const ready = [this] { return !mResponses.empty() || mShutdown; };
        if (timeout)
        {
            mReady.wait_for(lock, *timeout, ready);
        }
        else
        {
            mReady.wait(lock, ready);
        }
        return std::exchange(mResponses, {});
    }

    void cancel(IdType id)
    {
        std::scoped_lock const lock(mMutex);
        alive();
        mCancelled.insert(id);
        mWork.notify_one();
    }

    void shutdown()
    {
        {
            std::scoped_lock const lock(mMutex);
            mShutdown = true;
        }
        mWork.notify_all();
        mReady.notify_all();
        if (mThread.joinable())
        {
            mThread.join();
        }
    }

    std::deque<IterationStats> stats()
    {
        std::scoped_lock const lock(mMutex);
        alive();
        return std::exchange(mStats, {});
    }

    bool canEnqueue()
    {
        std::scoped_lock const lock(mMutex);
        return !mShutdown;
    }

private:
    struct Seq
    {
        IdType id;
        std::optional<IdType> clientId;
        VecTokens prompt;
        SizeType32 promptLen;
        SizeType32 maxTokens;
        bool streaming;
        bool excludeInput;
        bool times;
        std::uint64_t state;
        SizeType32 prefilled{0};
        SizeType32 produced{0};
        SizeType32 reservedBlocks{0};
        bool scheduled{false};
        bool finished{false};
        VecTokens output;
        RequestPerfMetrics metrics;
    };

    using List = std::list<Seq>;

    SizeType32 blocks(SizeType32 tokens) const
    {
        return (tokens + mFile.blockTokens - 1) / mFile.blockTokens;
    }

    void alive() const
    {
        if (mShutdown)
        {
            fail("Shutdown called");
        }
    }

    Seq begin(Request const& request, IdType id, Clock::time_point now) const
    {
        auto const& from = *request.mImpl;
        Seq seq{};
        seq.id = id;
        seq.clientId = from.clientId;
        seq.prompt = from.prompt;
        seq.promptLen = static_cast<SizeType32>(from.prompt.size());
        seq.maxTokens = from.maxTokens;
        seq.streaming = from.streaming;
        seq.excludeInput = from.output.excludeInputFromOutput;
        seq.times = from.output.returnPerfMetrics;
        seq.state = from.sampling.draw();
        for (auto const token : from.prompt)
        {
            seq.state = mix(seq.state, static_cast<std::uint64_t>(token));
        }
        seq.metrics.timingMetrics.arrivalTime = now;
        return seq;
    }

    void answer(Response response)
    {
        mResponses.push_back(std::move(response));
    }

    // What the real one finds when it fetches a request; its answer is an error response.
    std::optional<std::string> refusal(Seq const& seq) const
    {
        char const* what = nullptr;
        if (seq.promptLen > mFile.maxInputLen)
        {
            what = "Prompt length exceeds maximum input length. Set log level to info and check TRTGptModel logs for how "
                   "maximum input length is set";
        }
        else if (seq.promptLen + seq.maxTokens > mFile.maxSeqLen)
        {
            what = "Prompt length and max new tokens exceed the maximum sequence length";
        }
        else if (!mConfig.mChunked && seq.promptLen > mMaxTokens)
        {
            what = "Prompt length exceeds the maximum number of tokens, and context chunking is disabled";
        }
        else if (blocks(seq.promptLen + seq.maxTokens) > mBlocks)
        {
            what = "The request needs more KV cache blocks than there are";
        }
        return what == nullptr ? std::nullopt
                               : std::optional("Encountered an error when fetching new request: " + std::string(what));
    }

    void fetch(List& active)
    {
        bool const holdBack = mConfig.mScheduler.mPolicy == CapacitySchedulerPolicy::kSTATIC_BATCH && !active.empty();
        while (!holdBack && !mQueued.empty() && active.size() < static_cast<std::size_t>(mMaxBatch))
        {
            auto& next = mQueued.front();
            if (auto error = refusal(next))
            {
                answer(Response(next.id, std::move(*error), next.clientId));
                mReady.notify_all();
                mQueued.pop_front();
                continue;
            }
            active.splice(active.end(), mQueued, mQueued.begin());
        }
    }

    // Chooses what runs in this step. Blocks for a whole request are set aside when it is first scheduled: nothing is
    // evicted, whatever the policy.
    InflightBatchingStats schedule(List& active)
    {
        InflightBatchingStats batch{};
        auto const now = Clock::now();
        auto room = mMaxTokens;
        for (auto& seq : active)
        {
            seq.scheduled = false;
            if (seq.reservedBlocks == 0)
            {
                auto const need = blocks(seq.promptLen + seq.maxTokens);
                if (mUsedBlocks + need > mBlocks)
                {
                    break;
                }
                seq.reservedBlocks = need;
                mUsedBlocks += need;
                seq.metrics.timingMetrics.firstScheduledTime = now;
            }
            if (seq.prefilled == seq.promptLen)
            {
                if (room == 0)
                {
                    continue;
                }
                room -= 1;
                batch.numGenRequests += 1;
            }
            else
            {
                auto const chunk = std::min(room, seq.promptLen - seq.prefilled);
                if (chunk == 0 || (!mConfig.mChunked && chunk < seq.promptLen))
                {
                    continue;
                }
                room -= chunk;
                seq.prefilled += chunk;
                batch.numContextRequests += 1;
                batch.numCtxTokens += chunk;
                if (seq.prefilled < seq.promptLen)
                {
                    continue;
                }
            }
            seq.scheduled = true;
        }
        batch.numScheduledRequests = batch.numContextRequests + batch.numGenRequests;
        return batch;
    }

    void record(List const& active, double latencyMs, std::optional<InflightBatchingStats> const& batch)
    {
        if (mConfig.mIterStatsMax <= 0)
        {
            return;
        }
        IterationStats stats{};
        stats.iter = mIteration;
        stats.iterLatencyMS = latencyMs;
        stats.numActiveRequests = static_cast<SizeType32>(active.size());
        stats.numQueuedRequests = static_cast<SizeType32>(mQueued.size());
        stats.kvCacheStats
            = KvCacheStats{mBlocks, mBlocks - mUsedBlocks, mUsedBlocks, mFile.blockTokens, 0, mUsedBlocks};
        stats.inflightBatchingStats = batch.value_or(InflightBatchingStats{});
        if (mStats.size() >= static_cast<std::size_t>(mConfig.mIterStatsMax))
        {
            mStats.pop_front();
        }
        mStats.push_back(std::move(stats));
    }

    void finish(Seq& seq, FinishReason reason)
    {
        Result result;
        result.isFinal = true;
        result.finishReasons.push_back(reason);
        if (reason != FinishReason::kCANCELLED || !seq.output.empty())
        {
            VecTokens tokens;
            if (!seq.excludeInput && !seq.streaming)
            {
                tokens = seq.prompt;
            }
            tokens.insert(tokens.end(), seq.output.begin(), seq.output.end());
            result.outputTokenIds.push_back(std::move(tokens));
        }
        if (seq.times)
        {
            seq.metrics.timingMetrics.lastTokenTime = Clock::now();
            result.requestPerfMetrics = seq.metrics;
        }
        answer(Response(seq.id, std::move(result), seq.clientId));
        mUsedBlocks -= seq.reservedBlocks;
        seq.finished = true;
    }

    void emit(Seq& seq)
    {
        auto const span = static_cast<std::uint64_t>(mFile.vocabSize) - kFirstId;
        auto const token = kFirstId + mix(seq.state, static_cast<std::uint64_t>(seq.produced)) % span;
        seq.output.push_back(static_cast<TokenIdType>(token));
        seq.produced += 1;
        if (seq.produced == 1)
        {
            seq.metrics.timingMetrics.firstTokenTime = Clock::now();
        }
        bool const cut = mFile.fault == "short_output" && seq.produced + 1 == seq.maxTokens;
        if (seq.produced == seq.maxTokens || cut)
        {
            finish(seq, cut ? FinishReason::kEND_ID : FinishReason::kLENGTH);
        }
        else if (seq.streaming)
        {
            Result result;
            // Only what is new.
            result.outputTokenIds.push_back(std::exchange(seq.output, {}));
            result.finishReasons.push_back(FinishReason::kNOT_FINISHED);
            answer(Response(seq.id, std::move(result), seq.clientId));
        }
    }

    void loop()
    {
        using Micros = std::chrono::duration<double, std::micro>;
        List active;
        double latencyMs = 0;
        std::unique_lock lock(mMutex);
        while (true)
        {
            if (active.empty())
            {
                mWork.wait(lock, [this] { return mShutdown || !mQueued.empty() || !mCancelled.empty(); });
            }
            if (mShutdown)
            {
                // Requests that wait are never fetched any more; running ones run out.
                if (active.empty())
                {
                    return;
                }
            }
            else
            {
                fetch(active);
            }
            if (active.empty())
            {
                forgetCancelled();
                continue;
            }
            auto const start = Clock::now();
            auto const batch = schedule(active);
            mIteration += 1;
            // Told when the batch is launched, before its tokens are; the latency is that of the batch before.
            record(active, latencyMs, batch);
            auto const cost = Micros(mFile.stepUs + mFile.prefillTokenUs * batch.numCtxTokens
                + mFile.decodeSeqUs * batch.numGenRequests);
            // Always let go: callers must come in even where a step costs nothing.
            lock.unlock();
            if (cost.count() > 0)
            {
                std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(cost));
            }
            else
            {
                std::this_thread::yield();
            }
            lock.lock();
            if (mFile.fault == "fail_step")
            {
                for (auto& seq : active)
                {
                    answer(Response(seq.id, "Encountered an error in forwardSync function: (double) told to fail",
                        seq.clientId));
                    mUsedBlocks -= seq.reservedBlocks;
                    seq.finished = true;
                }
            }
            for (auto& seq : active)
            {
                if (seq.finished)
                {
                    continue;
                }
                if (mCancelled.erase(seq.id) != 0)
                {
                    seq.output.clear();
                    finish(seq, FinishReason::kCANCELLED);
                }
                else if (seq.scheduled)
                {
                    emit(seq);
                }
            }
            active.remove_if([](Seq const& seq) { return seq.finished; });
            if (active.empty())
            {
                forgetCancelled();
                // The record that ends a busy time comes before the last responses.
                record(active, 0, std::nullopt);
            }
            latencyMs = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
            if (!mResponses.empty())
            {
                mReady.notify_all();
            }
        }
    }

    // Ids that are neither running nor waiting were finished before they were cancelled: nothing is said of them.
    void forgetCancelled()
    {
        if (mCancelled.empty())
        {
            return;
        }
        for (auto it = mQueued.begin(); it != mQueued.end();)
        {
            if (mCancelled.erase(it->id) != 0)
            {
                Result result;
                result.isFinal = true;
                result.finishReasons.push_back(FinishReason::kCANCELLED);
                answer(Response(it->id, std::move(result), it->clientId));
                it = mQueued.erase(it);
            }
            else
            {
                ++it;
            }
        }
        mCancelled.clear();
        mReady.notify_all();
    }

    tensorrt_llm_double::EngineFile const mFile;
    ExecutorConfig const mConfig;
    SizeType32 mMaxBatch{0};
    SizeType32 mMaxTokens{0};
    SizeType32 mBlocks{0};

    std::mutex mMutex;
    std::condition_variable mWork;
    std::condition_variable mReady;
    bool mShutdown{false};
    IdType mLastId{0};
    IterationType mIteration{0};
    SizeType32 mUsedBlocks{0};
    List mQueued;
    std::unordered_set<IdType> mCancelled;
    std::vector<Response> mResponses;
    std::deque<IterationStats> mStats;
    std::thread mThread;
};

Executor::Executor(std::filesystem::path const& modelPath, ModelType, ExecutorConfig const& executorConfig)
    : mImpl(std::make_unique<Impl>(modelPath, executorConfig))
{
}

Executor::~Executor() = default;

std::vector<IdType> Executor::enqueueRequests(std::vector<Request> const& requests)
{
    return mImpl->enqueue(requests);
}

std::vector<Response> Executor::awaitResponses(std::optional<std::chrono::milliseconds> const& timeout)
{
    return mImpl->await(timeout);
}

void Executor::cancelRequest(IdType requestId)
{
    mImpl->cancel(requestId);
}

void Executor::shutdown()
{
    mImpl->shutdown();
}

std::deque<IterationStats> Executor::getLatestIterationStats()
{
    return mImpl->stats();
}

bool Executor::canEnqueueRequests() const
{
    return mImpl->canEnqueue();
}

} // namespace tensorrt_llm::executor
