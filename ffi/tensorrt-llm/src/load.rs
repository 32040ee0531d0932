//! From a load configuration to a running executor and what is to be said of it.
use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tacho::{
    engine::{
        Boundary, Capabilities, EngineError, EngineInfo, LoadConfig, ModelInfo, Options, Scheduler as Schedules, stat,
    },
    measure::monotonic_ns,
};

use crate::{
    ID, device,
    engine_dir::EngineDir,
    executor::{self, Executor, ExecutorOptions, NewRequest, Responses},
    options::TrtOptions,
    steps::Steps,
    vocab,
};

/// Iterations whose statistics the library keeps between two calls: those of a long `generate`, at some 300 bytes each.
const ITER_STATS: i32 = 1 << 16;
/// How long the first request may take, engine warm-up included.
const FIRST_REQUEST_NS: u64 = 300_000_000_000;
/// What `mpirun` (Open MPI, Hydra, Slurm's srun) tells its children of the number of ranks.
const RANKS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"];
/// The variable that names the file by which the leading rank tells the others what to load.
const FOLLOW: &str = "TACHO_TRTLLM_FOLLOW";
/// How long the others wait for it.
const FOLLOW_NS: u64 = 600_000_000_000;

/// What requests must fit into.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Prompt tokens.
    pub max_input_len: u32,
    /// Prompt plus output tokens.
    pub max_seq_len: u32,
    /// Rows of the vocabulary.
    pub vocab_size: u32,
}

/// A running executor with what is known of it.
pub struct Loaded {
    /// It.
    pub executor: Executor,
    /// What it says of itself.
    pub info: EngineInfo,
    /// What requests must fit into.
    pub limits: Limits,
    /// What its first request told.
    pub steps: Steps,
}

/// Starts an executor and puts one request through it, which shows that it works and tells the size of its cache.
///
/// # Errors
/// `Unsupported` for options, `Load` for anything that keeps the engine from running.
pub fn load(config: &LoadConfig) -> Result<Loaded, EngineError> {
    let options = TrtOptions::from_options(&config.options)?;
    let folder = config.model.as_deref().ok_or_else(|| {
        EngineError::load(format!(
            "{ID}: expected a folder of TensorRT engines as the model, found none: name one with --model"
        ))
    })?;
    let dir = EngineDir::read(folder)?;
    gather(&dir, config)?;
    let asked = executor_options(folder, &dir, &options, config)?;
    let executor = Executor::start(&asked)?;
    if !executor.can_enqueue()? {
        return Err(EngineError::load(format!(
            "{ID}: this process is not the leader of its group: only rank 0 takes requests."
        )));
    }
    let steps = first_request(&executor)?;
    let info = describe(folder, &dir, &options, &asked, &steps)?;
    if steps.kv_capacity > 0 && steps.kv_capacity < u64::from(config.max_model_len) {
        return Err(EngineError::load(format!(
            "{ID}: requests of up to {} tokens are planned, the KV cache holds {}: raise kv_cache_max_tokens or \
             kv_cache_free_gpu_memory_fraction",
            config.max_model_len, steps.kv_capacity
        )));
    }
    let build = &dir.build_config;
    let limits = Limits {
        max_input_len: build.max_input_len,
        max_seq_len: build.max_seq_len,
        vocab_size: dir.pretrained_config.vocab_size,
    };
    Ok(Loaded { executor, info, limits, steps })
}

/// Runs a rank that only follows, until its leader ends. It waits for the leader to write its load configuration into the
/// file that [`FOLLOW`] names: all ranks must be given the same.
///
/// # Errors
/// `Load`, a sentence for the log.
pub fn follow() -> Result<(), EngineError> {
    let path = follow_file()?;
    let until_ns = monotonic_ns() + FOLLOW_NS;
    let text = loop {
        match fs::read(&path) {
            Ok(text) => break text,
            Err(_) if monotonic_ns() < until_ns => std::thread::sleep(std::time::Duration::from_millis(50)),
            Err(error) => {
                return Err(EngineError::load(format!("{ID}: the leader wrote no {}: {error}", path.display())));
            }
        }
    };
    let config: LoadConfig = serde_json::from_slice(&text)
        .map_err(|error| EngineError::load(format!("{ID}: {} holds no load configuration: {error}", path.display())))?;
    let folder = config.model.as_deref().ok_or_else(|| EngineError::load(format!("{ID}: the leader has no model")))?;
    let dir = EngineDir::read(folder)?;
    let options = TrtOptions::from_options(&config.options)?;
    Executor::start(&executor_options(folder, &dir, &options, &config)?)?.shutdown()
}

fn follow_file() -> Result<PathBuf, EngineError> {
    std::env::var_os(FOLLOW).filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(|| {
        EngineError::load(format!(
            "{ID}: {FOLLOW} is not set; expected a path where the leading rank can leave its configuration for the others"
        ))
    })
}

/// An engine for several ranks runs only where an MPI launcher has started that many; the others are told what to load.
fn gather(dir: &EngineDir, config: &LoadConfig) -> Result<(), EngineError> {
    let wanted = dir.pretrained_config.mapping.world_size;
    if wanted == 1 {
        return Ok(());
    }
    let found = RANKS.iter().find_map(|name| std::env::var(name).ok()?.parse::<u32>().ok());
    if found != Some(wanted) {
        let found = found.map_or_else(|| "no MPI launcher".to_owned(), |found| format!("{found} of them"));
        return Err(EngineError::load(format!(
            "{ID}: this engine was built for {wanted} ranks, one process each, started by MPI; found {found}. Let TACHO_CELL_DIR \
             name a folder with a script tacho-cell-trtllm that starts `mpirun -n 1 CELL : -n {} CELL --follow` \
             (docs/engines/tensorrt-llm.md has it), or build the engine for one rank",
            wanted - 1
        )));
    }
    let path = follow_file()?;
    let draft = path.with_extension("draft");
    let written = serde_json::to_vec(config)
        .map_err(std::io::Error::from)
        .and_then(|text| fs::write(&draft, text))
        .and_then(|()| fs::rename(&draft, &path));
    written.map_err(|error| EngineError::load(format!("{ID}: {} cannot be written: {error}", path.display())))
}

fn executor_options(
    folder: &Path,
    dir: &EngineDir,
    options: &TrtOptions,
    config: &LoadConfig,
) -> Result<ExecutorOptions, EngineError> {
    let build = &dir.build_config;
    if config.max_model_len > build.max_seq_len {
        return Err(EngineError::load(format!(
            "{ID}: requests of up to {} tokens are planned, the engine was built for {}: build it with a longer max_seq_len, or \
             shorten the prompts or outputs",
            config.max_model_len, build.max_seq_len
        )));
    }
    let max_batch_size = options.max_batch_size.unwrap_or(config.max_seqs.max(1));
    if max_batch_size > build.max_batch_size {
        return Err(EngineError::load(format!(
            "{ID}: {max_batch_size} sequences at once are planned, the engine was built for {}: build it with a larger \
             max_batch_size, or set max_batch_size and let the others wait",
            build.max_batch_size
        )));
    }
    let paged = build.plugin_config.use_paged_context_fmha;
    let chunked = options.enable_chunked_context.unwrap_or(paged);
    for (name, on) in [("enable_chunked_context", chunked), ("enable_block_reuse", options.enable_block_reuse)] {
        if on && !paged {
            return Err(EngineError::unsupported(format!(
                "{ID}: {name} needs an engine that was built with use_paged_context_fmha; this one was not"
            )));
        }
    }
    let number = |value: Option<u32>| value.map_or(0, |value| value as i32);
    Ok(ExecutorOptions {
        engine_dir: folder.display().to_string(),
        max_batch_size: max_batch_size as i32,
        max_num_tokens: number(options.max_num_tokens),
        max_queue_size: number(options.max_queue_size),
        kv_max_tokens: number(options.kv_cache_max_tokens),
        kv_free_gpu_memory_fraction: options.kv_cache_free_gpu_memory_fraction.unwrap_or(0.0),
        enable_block_reuse: options.enable_block_reuse,
        enable_chunked_context: chunked,
        policy: options.capacity_scheduler_policy.number(),
        cuda_graph_mode: options.cuda_graph_mode,
        multi_block_mode: options.multi_block_mode.unwrap_or(true),
        iter_stats_max: ITER_STATS,
        device_ids: options.device_ids.iter().map(|id| *id as i32).collect(),
    })
}

/// One token in, one out.
fn first_request(executor: &Executor) -> Result<Steps, EngineError> {
    let request = NewRequest {
        client_id: 0,
        prompt_len: 1,
        max_tokens: 1,
        streaming: false,
        greedy: true,
        temperature: 0.0,
        top_p: 1.0,
        top_k: 1,
        seed: 0,
    };
    executor.enqueue(&[0], &[request], &mut Vec::new())?;
    let mut responses = Responses::default();
    let until_ns = monotonic_ns() + FIRST_REQUEST_NS;
    while responses.rows.is_empty() {
        executor.await_responses(1000, &mut responses)?;
        if monotonic_ns() > until_ns {
            return Err(EngineError::load(format!(
                "{ID}: the first request got no answer within {} s",
                FIRST_REQUEST_NS / 1_000_000_000
            )));
        }
    }
    if let Some(error) = responses.errors.first() {
        return Err(EngineError::load(format!("{ID}: the first request, one token in and one out, failed: {error}")));
    }
    let (mut rows, mut steps) = (Vec::new(), Steps::default());
    executor.iterations(&mut rows)?;
    steps.told(&rows);
    steps.clear();
    Ok(steps)
}

fn describe(
    folder: &Path,
    dir: &EngineDir,
    options: &TrtOptions,
    asked: &ExecutorOptions,
    steps: &Steps,
) -> Result<EngineInfo, EngineError> {
    let version = executor::version();
    let double = cfg!(trtllm_double).then(|| version.clone());
    let (model, build) = (&dir.pretrained_config, &dir.build_config);
    let engines = (0..model.mapping.world_size).map(|rank| folder.join(format!("rank{rank}.engine")));
    let sizes: Vec<u64> = engines.filter_map(|path| Some(path.metadata().ok()?.len())).collect();
    let tokenizer = options.tokenizer.as_deref().unwrap_or(folder);
    let effective = [
        ("engine_version", json!(dir.version)),
        ("max_batch_size", json!(asked.max_batch_size)),
        ("max_num_tokens", json!(options.max_num_tokens.or(build.max_num_tokens))),
        ("max_queue_size", json!(options.max_queue_size)),
        ("max_beam_width", json!(1)),
        ("kv_cache_max_tokens", json!(options.kv_cache_max_tokens)),
        ("kv_cache_free_gpu_memory_fraction", json!(options.kv_cache_free_gpu_memory_fraction.unwrap_or(0.9))),
        ("tokens_per_block", json!(steps.block_tokens)),
        ("enable_block_reuse", json!(asked.enable_block_reuse)),
        ("enable_chunked_context", json!(asked.enable_chunked_context)),
        ("capacity_scheduler_policy", json!(options.capacity_scheduler_policy)),
        ("batching_type", json!("inflight")),
        ("cuda_graph_mode", json!(asked.cuda_graph_mode)),
        ("multi_block_mode", json!(asked.multi_block_mode)),
        ("device_ids", json!(options.device_ids)),
        ("kv_cache_quant_algo", json!(model.quantization.kv_cache_quant_algo)),
        ("built_max_batch_size", json!(build.max_batch_size)),
        ("built_max_input_len", json!(build.max_input_len)),
        ("built_max_seq_len", json!(build.max_seq_len)),
        ("tokenizer", json!(tokenizer)),
    ];
    Ok(EngineInfo {
        engine: ID.to_owned(),
        device: double
            .clone()
            .or_else(device::gpus)
            .unwrap_or_else(|| "a GPU that the driver does not name".to_owned()),
        // The leader's part of the GPU work runs here, other ranks' in theirs.
        gpu_in_process: double.is_none().then_some(model.mapping.world_size == 1),
        version,
        double,
        boundary: if model.mapping.world_size == 1 { Boundary::InCore } else { Boundary::ChildCore },
        scheduler: Schedules::Engine,
        compile_mode: Some(if asked.cuda_graph_mode { "tensorrt+cuda-graphs" } else { "tensorrt" }.to_owned()),
        parallelism: (model.mapping.tp_size, model.mapping.pp_size),
        model: ModelInfo {
            name: folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            architecture: Some(model.architecture.clone()),
            weights_dtype: Some(dir.weights_dtype()),
            n_params: None,
            size_bytes: Some(sizes.iter().sum()),
            context_len: model.max_position_embeddings,
            vocab_size: model.vocab_size,
            ordinary_ids: vocab::ordinary_ids(tokenizer, model.vocab_size)?,
        },
        kv_capacity_tokens: (steps.kv_capacity > 0).then_some(steps.kv_capacity),
        max_seqs: Some(asked.max_batch_size as u32),
        max_model_len: Some(build.max_seq_len),
        virtual_time: false,
        capabilities: Capabilities::ALL,
        effective: effective.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Options>(),
        observed: Options::new(),
        uncounted: [(
            stat::COMPILES.to_owned(),
            "the executor does not tell of the graphs that it captures and the kernels that it tunes".to_owned(),
        )]
        .into(),
    })
}
