// tensorrt-llm DOUBLE (not TensorRT-LLM): the classes that only carry values. Behaviour is in double.cpp.
#include "tensorrt_llm/executor/executor.h"

#include <cstring>
#include <utility>

namespace tensorrt_llm::executor
{

char const* version() noexcept
{
    return "tensorrt-llm DOUBLE (not TensorRT-LLM)";
}

ContextPhaseParams::ContextPhaseParams(ContextPhaseParams const&) = default;
ContextPhaseParams::ContextPhaseParams(ContextPhaseParams&&) noexcept = default;
ContextPhaseParams::~ContextPhaseParams() = default;

SamplingConfig::SamplingConfig(SizeType32, std::optional<SizeType32> const& topK, std::optional<FloatType> const& topP,
    std::optional<FloatType> const&, std::optional<TokenIdType> const&, std::optional<FloatType> const&,
    std::optional<RandomSeedType> const& seed, std::optional<FloatType> const& temperature,
    std::optional<SizeType32> const&, std::optional<FloatType> const&, std::optional<FloatType> const&,
    std::optional<FloatType> const&, std::optional<FloatType> const&, std::optional<FloatType> const&,
    std::optional<SizeType32> const&, std::optional<SizeType32> const&, std::optional<SizeType32> const&,
    std::optional<FloatType> const&, std::optional<std::vector<SizeType32>> const&)
    : mTopK(topK)
    , mTopP(topP)
    , mSeed(seed)
    , mTemperature(temperature)
{
}

void SamplingConfig::setTopK(std::optional<SizeType32> const& topK)
{
    mTopK = topK;
}

void SamplingConfig::setTopP(std::optional<FloatType> const& topP)
{
    mTopP = topP;
}

void SamplingConfig::setSeed(std::optional<RandomSeedType> const& seed)
{
    mSeed = seed;
}

void SamplingConfig::setTemperature(std::optional<FloatType> const& temperature)
{
    mTemperature = temperature;
}

std::uint64_t SamplingConfig::draw() const
{
    // One likeliest token leaves nothing to draw; otherwise the seed decides, and so does what it draws from.
    if (mTopK == 1)
    {
        return 0;
    }
    auto const bits = [](std::optional<FloatType> value)
    {
        std::uint32_t word = 0;
        float const given = value.value_or(0.0F);
        std::memcpy(&word, &given, sizeof word);
        return std::uint64_t{word};
    };
    auto draw = 0x9E3779B97F4A7C15ULL ^ mSeed.value_or(0);
    for (auto const part : {bits(mTopP), bits(mTemperature), static_cast<std::uint64_t>(mTopK.value_or(0))})
    {
        draw = (draw ^ part) * 0x100000001B3ULL;
    }
    return draw | 1;
}

OutputConfig::OutputConfig(
    bool, bool, bool, bool excludeInput, bool, bool perfMetrics, std::optional<std::vector<AdditionalModelOutput>>)
    : excludeInputFromOutput(excludeInput)
    , returnPerfMetrics(perfMetrics)
{
}

SchedulerConfig::SchedulerConfig(
    CapacitySchedulerPolicy policy, std::optional<ContextChunkingPolicy>, std::optional<DynamicBatchConfig>)
    : mPolicy(policy)
{
}

KvCacheConfig::KvCacheConfig(bool reuse, std::optional<SizeType32> const& maxTokens,
    std::optional<std::vector<SizeType32>> const&, std::optional<SizeType32> const&, std::optional<FloatType> const&,
    std::optional<std::size_t> const&, bool, std::optional<FloatType> const&, std::optional<RetentionPriority>,
    std::size_t, bool, bool, bool, SizeType32, std::optional<runtime::RuntimeDefaults> const&, std::uint64_t const&)
    : mReuse(reuse)
    , mMaxTokens(maxTokens)
{
}

void KvCacheConfig::setMaxTokens(std::optional<SizeType32> maxTokens)
{
    mMaxTokens = maxTokens;
}

void KvCacheConfig::setFreeGpuMemoryFraction(FloatType) {}

ExtendedRuntimePerfKnobConfig::ExtendedRuntimePerfKnobConfig(bool, bool, bool, SizeType32) {}

void ExtendedRuntimePerfKnobConfig::setCudaGraphMode(bool) {}

ParallelConfig::ParallelConfig(CommunicationType, CommunicationMode, std::optional<std::vector<SizeType32>>,
    std::optional<std::vector<SizeType32>>, std::optional<OrchestratorConfig> const&, std::optional<SizeType32>)
{
}

void ParallelConfig::setDeviceIds(std::vector<SizeType32> const&) {}

ExecutorConfig::ExecutorConfig(SizeType32, SchedulerConfig scheduler, KvCacheConfig kvCache, bool chunked, bool,
    SizeType32 iterStatsMax, SizeType32, BatchingType batching, std::optional<SizeType32> maxBatchSize,
    std::optional<SizeType32> maxNumTokens, std::optional<ParallelConfig>, std::optional<PeftCacheConfig> const&,
    std::optional<LogitsPostProcessorConfig>, std::optional<DecodingConfig>, bool, float,
    std::optional<SizeType32> maxQueueSize, ExtendedRuntimePerfKnobConfig const&, std::optional<DebugConfig>,
    SizeType32, std::uint64_t, std::optional<SpeculativeDecodingConfig>, std::optional<GuidedDecodingConfig>,
    std::optional<std::vector<AdditionalModelOutput>>, std::optional<CacheTransceiverConfig>, bool, bool, bool, bool)
    : mScheduler(scheduler)
    , mKvCache(std::move(kvCache))
    , mChunked(chunked)
    , mIterStatsMax(iterStatsMax)
    , mBatching(batching)
    , mMaxBatchSize(maxBatchSize)
    , mMaxNumTokens(maxNumTokens)
    , mMaxQueueSize(maxQueueSize)
{
}

void ExecutorConfig::setMaxBatchSize(SizeType32 maxBatchSize)
{
    mMaxBatchSize = maxBatchSize;
}

void ExecutorConfig::setMaxNumTokens(SizeType32 maxNumTokens)
{
    mMaxNumTokens = maxNumTokens;
}

void ExecutorConfig::setSchedulerConfig(SchedulerConfig const& schedulerConfig)
{
    mScheduler = schedulerConfig;
}

void ExecutorConfig::setKvCacheConfig(KvCacheConfig const& kvCacheConfig)
{
    mKvCache = kvCacheConfig;
}

void ExecutorConfig::setEnableChunkedContext(bool enableChunkedContext)
{
    mChunked = enableChunkedContext;
}

void ExecutorConfig::setIterStatsMaxIterations(SizeType32 iterStatsMaxIterations)
{
    mIterStatsMax = iterStatsMaxIterations;
}

void ExecutorConfig::setRequestStatsMaxIterations(SizeType32) {}

void ExecutorConfig::setBatchingType(BatchingType batchingType)
{
    mBatching = batchingType;
}

void ExecutorConfig::setParallelConfig(ParallelConfig const&) {}

void ExecutorConfig::setMaxQueueSize(std::optional<SizeType32> const& maxQueueSize)
{
    mMaxQueueSize = maxQueueSize;
}

void ExecutorConfig::setExtendedRuntimePerfKnobConfig(ExtendedRuntimePerfKnobConfig const&) {}

} // namespace tensorrt_llm::executor
