// tensorrt-llm DOUBLE (not TensorRT-LLM): what its engine files say. A real engine file is refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace tensorrt_llm_double
{

// `rank0.engine` of the double: its first line is kMagic, further ones are `name=value`. Costs in microseconds.
struct EngineFile
{
    static constexpr char const* kMagic = "tensorrt-llm DOUBLE engine";

    std::int32_t maxBatchSize{64};
    std::int32_t maxInputLen{1024};
    std::int32_t maxSeqLen{2048};
    std::int32_t maxNumTokens{8192};
    std::int32_t vocabSize{32000};
    std::int32_t kvBlocks{4096};
    std::int32_t blockTokens{32};
    double stepUs{200};
    double prefillTokenUs{1};
    double decodeSeqUs{5};
    // A fault to commit: throw_foreign, throw_memory (from awaitResponses), short_output, fail_step.
    std::string fault;

    // Throws std::runtime_error saying what is wrong with the folder or its file.
    static EngineFile read(std::filesystem::path const& folder);
};

} // namespace tensorrt_llm_double
