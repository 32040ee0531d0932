//! A shim as a Tacho engine.

use pyo3::{
    prelude::*,
    types::{PyList, PyTuple},
};
use rustc_hash::FxHashSet;
use tacho::{
    engine::{
        Completions, Engine, EngineError, EngineInfo, EventBuf, FinishReason, Forced, LoadConfig, Request,
        RequestBatch, RequestId, Sampling, Scored, Stats,
    },
    measure::{monotonic_ns, sleep_until_ns},
};

use crate::{convert, error, host, info};

/// A Python engine behind its shim.
pub struct PythonEngine {
    info: EngineInfo,
    name: String,
    door: Door,
    /// Submitted, neither ended nor cancelled.
    live: FxHashSet<u32>,
    /// Cancelled since the last poll.
    cancelled: Vec<RequestId>,
    /// The requests of `generate` calls since the last reset, in order.
    generated: Vec<RequestId>,
}

/// The shim's bound methods, looked up once.
struct Door {
    generate: Py<PyAny>,
    submit: Py<PyAny>,
    step: Py<PyAny>,
    cancel: Py<PyAny>,
    reset: Py<PyAny>,
    stats: Py<PyAny>,
    shutdown: Py<PyAny>,
    /// None where the shim has none.
    score: Option<Py<PyAny>>,
    /// None where the engine does not show which ids it consumed.
    consumed: Option<Py<PyAny>>,
    /// None where it has none.
    generate_text: Option<Py<PyAny>>,
}

impl PythonEngine {
    /// Starts the interpreter if it does not run yet, imports `tacho_shims.<engine>` and lets it load the engine.
    ///
    /// # Errors
    /// [`tacho::engine::ErrorKind::Load`], or the kind that the shim gives its exception, with the exception's type,
    /// message and last frames.
    pub fn load(config: &LoadConfig) -> Result<Self, EngineError> {
        let engine = config.engine.as_str();
        if engine.starts_with('_') || !engine.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(EngineError::load(format!("{engine:?} is no engine's id: expected letters, digits, - and _")));
        }
        host::start()?;
        let config_json = serde_json::to_string(config)
            .map_err(|error| EngineError::load(format!("the configuration cannot be told to Python: {error}")))?;
        let (door, told) = Python::attach(|py| {
            load_shim(py, &engine.replace('-', "_"), &config_json).map_err(|raised| error::load(py, engine, &raised))
        })?;
        let mut info = info::parse(engine, &told)?;
        info.effective.insert("python_host".to_owned(), host::kind().into());
        Ok(Self {
            info,
            name: engine.to_owned(),
            door,
            live: FxHashSet::default(),
            cancelled: Vec::new(),
            generated: Vec::new(),
        })
    }

    fn check(&self, request: Request<'_>) -> Result<(), EngineError> {
        let need = request.prompt.len() as u64 + u64::from(request.output_tokens);
        let limit = self.info.max_model_len.map_or(u64::MAX, u64::from);
        if request.prompt.is_empty() || request.output_tokens == 0 || need > limit {
            return Err(EngineError::bad_request(format!(
                "{}: request {} wants {} tokens in and {} out; expected at least 1 each and at most {limit} together",
                self.name,
                request.id.0,
                request.prompt.len(),
                request.output_tokens,
            )));
        }
        if !request.sampling.is_greedy() && !self.info.capabilities.sampling {
            return Err(EngineError::unsupported(format!(
                "{}: this engine's door decodes greedily only; request {} asks for temperature {}",
                self.name, request.id.0, request.sampling.temperature
            )));
        }
        Ok(())
    }

    /// Calls into the shim with the interpreter lock held; what it raises becomes an engine error.
    fn call<T>(&self, run: impl for<'py> FnOnce(Python<'py>, &Door) -> PyResult<T>) -> Result<T, EngineError> {
        Python::attach(|py| run(py, &self.door).map_err(|raised| error::run(py, &self.name, &raised)))
    }

    fn no_steps(&self) -> EngineError {
        EngineError::unsupported(format!(
            "{}: this engine's door has no continuous batching: it takes offline load by its generate call only",
            self.name
        ))
    }
}

fn load_shim(py: Python<'_>, module: &str, config: &str) -> PyResult<(Door, String)> {
    let shim = py.import(format!("tacho_shims.{module}"))?;
    let json = py.import("json")?;
    let engine = shim.getattr("load")?.call1((json.call_method1("loads", (config,))?,))?;
    let method = |name: &str| engine.getattr(name).map(Bound::unbind);
    let door = Door {
        generate: method("generate")?,
        submit: method("submit")?,
        step: method("step")?,
        cancel: method("cancel")?,
        reset: method("reset")?,
        stats: method("stats")?,
        shutdown: method("shutdown")?,
        score: if engine.hasattr("score")? { Some(method("score")?) } else { None },
        consumed: if engine.hasattr("consumed")? { Some(method("consumed")?) } else { None },
        generate_text: if engine.hasattr("generate_text")? { Some(method("generate_text")?) } else { None },
    };
    let told = json.call_method1("dumps", (engine.call_method0("info")?,))?;
    Ok((door, told.extract()?))
}

fn sampling_tuple<'py>(py: Python<'py>, sampling: &Sampling) -> PyResult<Bound<'py, PyTuple>> {
    (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed).into_pyobject(py)
}

impl Engine for PythonEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn generate(&mut self, batch: &RequestBatch) -> Result<Completions, EngineError> {
        for request in batch.iter() {
            self.check(request)?;
        }
        let mut completions = Completions::default();
        self.call(|py, door| {
            let prompts = PyList::empty(py);
            let outputs = PyList::empty(py);
            let samplings = PyList::empty(py);
            // Greedy requests share one object: the seed has no effect on them.
            let greedy = sampling_tuple(py, &Sampling::default())?;
            for request in batch.iter() {
                prompts.append(convert::ids_to_list(py, request.prompt)?)?;
                outputs.append(request.output_tokens)?;
                match request.sampling.is_greedy() {
                    true => samplings.append(&greedy)?,
                    false => samplings.append(sampling_tuple(py, &request.sampling)?)?,
                }
            }
            let answer = door.generate.bind(py).call1((prompts, outputs, samplings))?;
            convert::completions(batch, &answer, &mut completions)
        })?;
        self.generated.extend(batch.iter().map(|request| request.id));
        Ok(completions)
    }

    fn generate_text(
        &mut self,
        batch: &RequestBatch,
        texts: Option<&[String]>,
        detokenise: bool,
    ) -> Result<(Completions, u64), EngineError> {
        for request in batch.iter() {
            self.check(request)?;
        }
        let mut completions = Completions::default();
        let told = self.call(|py, door| {
            let Some(generate_text) = &door.generate_text else { return Ok(None) };
            let (prompts, outputs, samplings) = (PyList::empty(py), PyList::empty(py), PyList::empty(py));
            for (index, request) in batch.iter().enumerate() {
                match texts.and_then(|texts| texts.get(index)) {
                    Some(text) => prompts.append(text)?,
                    None => prompts.append(convert::ids_to_list(py, request.prompt)?)?,
                }
                outputs.append(request.output_tokens)?;
                samplings.append(sampling_tuple(py, &request.sampling)?)?;
            }
            let answer = generate_text.bind(py).call1((prompts, outputs, samplings, detokenise))?;
            let (rows, characters): (Bound<'_, PyAny>, u64) = answer.extract()?;
            convert::completions(batch, &rows, &mut completions)?;
            Ok(Some(characters))
        })?;
        let characters = told.ok_or_else(|| {
            EngineError::unsupported(format!(
                "{}: its shim takes and gives token ids alone: it has no `generate_text`",
                self.name
            ))
        })?;
        self.generated.extend(batch.iter().map(|request| request.id));
        Ok((completions, characters))
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), EngineError> {
        if !self.info.capabilities.continuous_batching {
            return Err(self.no_steps());
        }
        self.check(request)?;
        self.call(|py, door| {
            let prompt = convert::ids_to_list(py, request.prompt)?;
            let sampling = sampling_tuple(py, &request.sampling)?;
            door.submit.bind(py).call1((request.id.0, prompt, request.output_tokens, sampling)).map(drop)
        })?;
        self.live.insert(request.id.0);
        Ok(())
    }

    fn poll(&mut self, deadline_ns: u64, out: &mut EventBuf) -> Result<(), EngineError> {
        if !self.cancelled.is_empty() {
            let time_ns = monotonic_ns();
            for id in self.cancelled.drain(..) {
                out.push(id, time_ns, &[], None, Some(FinishReason::Cancelled));
            }
            return Ok(());
        }
        if self.live.is_empty() {
            // The interpreter lock is free meanwhile.
            sleep_until_ns(deadline_ns);
            return Ok(());
        }
        let (events, steps) = (out.events.len(), out.steps.len());
        loop {
            self.call(|py, door| {
                let step = door.step.bind(py).call1((deadline_ns,))?;
                convert::step(&step, out)
            })?;
            if out.events.len() > events || out.steps.len() > steps || monotonic_ns() >= deadline_ns {
                break;
            }
        }
        for event in out.events[events..].iter().filter(|event| event.finish.is_some()) {
            self.live.remove(&event.request.0);
        }
        Ok(())
    }

    fn cancel(&mut self, id: RequestId) -> Result<(), EngineError> {
        if !self.info.capabilities.cancel {
            return Err(EngineError::unsupported(format!("{}: this engine's door cannot cancel", self.name)));
        }
        if self.live.remove(&id.0) {
            self.call(|py, door| door.cancel.bind(py).call1((id.0,)).map(drop))?;
            self.cancelled.push(id);
        }
        Ok(())
    }

    fn score(&mut self, sequences: &[Forced]) -> Result<Vec<Vec<Scored>>, EngineError> {
        let told = self.call(|py, door| {
            let Some(score) = &door.score else { return Ok(None) };
            let (prompts, continuations) = (PyList::empty(py), PyList::empty(py));
            for sequence in sequences {
                prompts.append(convert::ids_to_list(py, &sequence.prompt)?)?;
                continuations.append(convert::ids_to_list(py, &sequence.continuation)?)?;
            }
            convert::scores(&score.bind(py).call1((prompts, continuations))?).map(Some)
        })?;
        told.ok_or_else(|| {
            EngineError::unsupported(format!(
                "{}: its shim has no `score`: this engine's door gives no log-probabilities of given ids",
                self.name
            ))
        })
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.live.clear();
        self.cancelled.clear();
        self.generated.clear();
        self.call(|py, door| door.reset.bind(py).call0().map(drop))
    }

    fn stats(&mut self) -> Stats {
        let told = self.call(|py, door| {
            let mut stats = Stats::new();
            for item in door.stats.bind(py).call0()?.call_method0("items")?.try_iter()? {
                let (name, value): (String, f64) = item?.extract()?;
                stats.insert(name, value);
            }
            Ok(stats)
        });
        // Absent counters are "the engine does not tell"; why it does not is in the log already.
        told.unwrap_or_default()
    }

    fn consumed_digest(&mut self) -> Option<u64> {
        let told = self.call(|py, door| {
            let Some(consumed) = &door.consumed else { return Ok(None) };
            convert::consumed(&consumed.bind(py).call0()?, &self.generated).map(Some)
        });
        told.unwrap_or_else(|error| {
            eprintln!("{}: which ids it consumed is not known: {error}", self.name);
            None
        })
    }

    fn shutdown(&mut self) -> Result<(), EngineError> {
        self.call(|py, door| door.shutdown.bind(py).call0().map(drop))
    }
}

impl Drop for PythonEngine {
    fn drop(&mut self) {
        // Here, with the lock held: references dropped without it would wait for a next call that may never come.
        Python::attach(|py| {
            let none = py.None();
            for method in [
                &mut self.door.generate,
                &mut self.door.submit,
                &mut self.door.step,
                &mut self.door.cancel,
                &mut self.door.reset,
                &mut self.door.stats,
                &mut self.door.shutdown,
            ] {
                drop(std::mem::replace(method, none.clone_ref(py)));
            }
            drop(self.door.score.take());
            drop(self.door.consumed.take());
            drop(self.door.generate_text.take());
            if let Ok(gc) = py.import("gc") {
                // An engine's parts refer to each other: its memory is free for a next load only once they are collected.
                let _: PyResult<Bound<'_, PyAny>> = gc.call_method0("collect");
            }
        });
    }
}
