// tensorrt-llm DOUBLE (not TensorRT-LLM).
#include "engine_file.h"

#include <fstream>
#include <stdexcept>

namespace tensorrt_llm_double
{

EngineFile EngineFile::read(std::filesystem::path const& folder)
{
    auto const path = folder / "rank0.engine";
    std::ifstream in(path);
    std::string line;
    if (!in || !std::getline(in, line))
    {
        throw std::runtime_error("[TensorRT-LLM][ERROR] (double) cannot read " + path.string());
    }
    if (line != kMagic)
    {
        throw std::runtime_error("[TensorRT-LLM][ERROR] (double) " + path.string()
            + " is no engine of the double: its first line should be `" + kMagic + "`");
    }
    EngineFile file;
    while (std::getline(in, line))
    {
        auto const at = line.find('=');
        if (at == std::string::npos)
        {
            continue;
        }
        auto const name = line.substr(0, at);
        auto const value = line.substr(at + 1);
        auto const number = [&] { return static_cast<std::int32_t>(std::stol(value)); };
        if (name == "max_batch_size")
        {
            file.maxBatchSize = number();
        }
        else if (name == "max_input_len")
        {
            file.maxInputLen = number();
        }
        else if (name == "max_seq_len")
        {
            file.maxSeqLen = number();
        }
        else if (name == "max_num_tokens")
        {
            file.maxNumTokens = number();
        }
        else if (name == "vocab_size")
        {
            file.vocabSize = number();
        }
        else if (name == "kv_blocks")
        {
            file.kvBlocks = number();
        }
        else if (name == "block_tokens")
        {
            file.blockTokens = number();
        }
        else if (name == "step_us")
        {
            file.stepUs = std::stod(value);
        }
        else if (name == "prefill_token_us")
        {
            file.prefillTokenUs = std::stod(value);
        }
        else if (name == "decode_seq_us")
        {
            file.decodeSeqUs = std::stod(value);
        }
        else if (name == "fault")
        {
            file.fault = value;
        }
        else
        {
            throw std::runtime_error("[TensorRT-LLM][ERROR] (double) unknown line in the engine file: " + line);
        }
    }
    return file;
}

} // namespace tensorrt_llm_double
