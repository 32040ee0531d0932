// What Rust sees of TensorRT-LLM's executor. No type of the vendor's is named here: bridge.cpp alone includes its header.
#pragma once

#include <cstdint>
#include <memory>

#include "rust/cxx.h"

namespace tacho::trtllm
{

// Shared with Rust; the fields are described in ffi/tensorrt-llm/src/bridge.rs.
struct ExecutorOptions;
struct NewRequest;
struct ResponseRow;
struct IterationRow;
struct Status;

// A running executor. Every function catches what the library throws and tells it in the Status it returns.
class Handle
{
public:
    struct Impl;

    explicit Handle(std::unique_ptr<Impl> impl) noexcept;
    Handle(Handle const&) = delete;
    Handle& operator=(Handle const&) = delete;
    ~Handle();

    // Hands over requests, all or none; `prompts` holds their token ids one after another. Appends one engine id each.
    Status enqueue(rust::Slice<std::uint32_t const> prompts, rust::Slice<NewRequest const> requests,
        rust::Vec<std::uint64_t>& engine_ids) const noexcept;

    // Waits until some response is there or `timeout_ms` have passed, and appends all that are: a row each, its tokens to
    // `tokens`, its error text, if it is one, to `errors`.
    Status await_responses(std::int64_t timeout_ms, rust::Vec<std::int32_t>& tokens, rust::Vec<ResponseRow>& rows,
        rust::Vec<rust::String>& errors) const noexcept;

    // Appends the iterations since the last call. The library forgets them.
    Status iterations(rust::Vec<IterationRow>& rows) const noexcept;

    // Asks for an end of the request; a finished one is ignored.
    Status cancel(std::uint64_t engine_id) const noexcept;

    // Whether this process may hand over requests: false for ranks that only follow.
    Status can_enqueue(bool& answer) const noexcept;

    // Ends the executor. Blocks; on a following rank, until its leader ends.
    Status shutdown() const noexcept;

private:
    std::unique_ptr<Impl> mImpl;
};

// Registers the library's TensorRT plugins: once in a process, before the first executor.
Status init_plugins() noexcept;

// Starts an executor on a folder of engines. Null unless the status is good.
std::unique_ptr<Handle> create(ExecutorOptions const& options, Status& status) noexcept;

// The library's own version.
rust::String version() noexcept;

} // namespace tacho::trtllm
